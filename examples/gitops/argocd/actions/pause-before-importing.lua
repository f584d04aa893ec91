-- Stops before the first byte is written to the target.
obj.spec.pauseAtStep = "IMPORTING"
return obj
