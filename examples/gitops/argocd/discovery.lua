-- Which actions make sense now. What is offered here is accepted by the API server's own rules.
local order = { "UPLOADING", "PREPROCESSING", "VALIDATING", "IMPORTING", "POSTPROCESSING", "NOTIFYING", "COMPLETED" }
local spec = obj.spec or {}
local status = obj.status or {}
local desired = spec.desiredState or "Active"
local ended = status.status == "SUCCESS" or status.status == "FAILURE"
local paused = status.status == "PAUSE"
local place = {}
for position, step in ipairs(order) do
  place[step] = position
end

-- The first step that can still be fenced or cancelled; the first step of all never can.
local open = place[status.step or "UPLOADING"]
if status.entered or open == 1 then
  open = open + 1
end

local fenced = paused and status.pause ~= nil and status.pause.reason ~= "Suspended"
local cancel_ahead = spec.cancelAtStep ~= nil and place[spec.cancelAtStep] >= open
local recoverable = false
if status.status == "FAILURE" and status.failure ~= nil then
  local failure = status.failure
  -- A budget that is used up has to be raised in the same change, and by how much only a person knows.
  local out_of_time = failure.reason == "DeadlineExceeded"
    and spec.activeDeadlineSeconds ~= nil
    and spec.activeDeadlineSeconds <= (status.activeSeconds or spec.activeDeadlineSeconds)
  recoverable = failure.recoverable ~= false and failure.retriedBy == nil and not out_of_time
end

return {
  -- On a paused relocation it would move the fence, which lets it go.
  ["pause-before-importing"] = {
    disabled = ended
      or paused
      or desired == "Aborted"
      or place["IMPORTING"] < open
      or spec.pauseAtStep == "IMPORTING",
  },
  ["unpause"] = { disabled = not fenced },
  ["cancel"] = {
    disabled = ended or desired == "Aborted" or order[open] == "COMPLETED" or spec.cancelAtStep == order[open],
  },
  ["withdraw-cancel"] = { disabled = ended or not cancel_ahead },
  ["suspend"] = { disabled = ended or desired ~= "Active" },
  ["resume"] = { disabled = status.status == "SUCCESS" or desired ~= "Suspended" },
  ["abort"] = { disabled = ended or desired == "Aborted" },
  ["recover"] = { disabled = not recoverable },
}
