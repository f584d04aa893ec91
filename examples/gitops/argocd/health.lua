-- The health of a Relocation, for Argo CD.
-- A pause is Suspended whatever holds it; what waits for a person's correction is Degraded.
local status = obj.status or {}
local spec = obj.spec or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

local function told(name)
  if conditions[name] == nil then
    return nil
  end
  return conditions[name].reason .. ": " .. conditions[name].message
end

-- A request that came too late is told for as long as it stands in the spec.
local function answer(health, message)
  local late = status.late
  if late ~= nil and spec[late.field] == late.value then
    message = message .. "; too late: " .. late.why
  end
  return { status = health, message = message }
end

if status.status == nil or status.observedGeneration ~= obj.metadata.generation then
  return {
    status = "Progressing",
    message = "generation " .. tostring(obj.metadata.generation) .. " has not been seen by the relocation operator yet",
  }
end
if status.status == "SUCCESS" then
  return answer("Healthy", "every step is done")
end
if status.status == "FAILURE" and status.failure ~= nil then
  local failure = status.failure
  return answer("Degraded", failure.reason .. ": " .. failure.message .. " (failure " .. failure.id .. ")")
end
if holds("Stalled") then
  return answer("Degraded", told("Stalled"))
end
if status.status == "PAUSE" and status.pause ~= nil then
  return answer("Suspended", status.pause.message)
end
-- Only with readiness: WhenAccepted is a relocation Ready before it has succeeded.
if holds("Ready") then
  return answer("Healthy", told("Ready"))
end
return answer("Progressing", told("Reconciling") or told("Ready") or "not ended yet")
