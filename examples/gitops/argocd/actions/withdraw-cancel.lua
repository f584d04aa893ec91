obj.spec.cancelAtStep = nil
return obj
