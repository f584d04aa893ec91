-- Ends it now.
obj.spec.desiredState = "Aborted"
return obj
