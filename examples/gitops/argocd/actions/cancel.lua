-- Ends it instead of entering the next step; a paused one ends at once.
local following = {
  UPLOADING = "PREPROCESSING",
  PREPROCESSING = "VALIDATING",
  VALIDATING = "IMPORTING",
  IMPORTING = "POSTPROCESSING",
  POSTPROCESSING = "NOTIFYING",
}
local status = obj.status or {}
local step = status.step or "UPLOADING"
-- The first step cannot be cancelled at, even before it is entered.
if status.entered or step == "UPLOADING" then
  step = following[step]
end
obj.spec.cancelAtStep = step
return obj
