-- Stops the running work now and keeps step, task and attempt.
obj.spec.desiredState = "Suspended"
return obj
