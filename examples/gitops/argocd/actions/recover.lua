-- One more attempt of exactly this failure, with what would end it again at once out of the way.
obj.spec.recover = obj.status.failure.id
if obj.spec.desiredState == "Aborted" then
  obj.spec.desiredState = "Active"
end
if obj.spec.cancelAtStep == obj.status.step and not obj.status.entered then
  obj.spec.cancelAtStep = nil
end
return obj
