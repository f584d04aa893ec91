-- Opens whichever fence holds it: its own, the plan's, or both.
local step = obj.status.pause.step
if obj.spec.pauseAtStep == step then
  obj.spec.pauseAtStep = nil
end
if obj.status.autoPauseAtStep == step then
  obj.spec.autoPause = "Skip"
end
return obj
