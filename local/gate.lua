-- Stops a listener while none of its targets accepts a connection, so that clients are refused, and resumes it after.
--
-- HAProxy completes a client's handshake before it turns to a target. Behind an AWS Network Load Balancer the refusal of the
-- last target reaches the client as a refusal. "disable frontend" (HAProxy management guide, 9.3) releases the port.

local INTERVAL = 100 -- milliseconds
local SOCKET = os.getenv("GATE_SOCKET")

-- True if HAProxy did as told: it answers a success with nothing.
local function command(words)
  local connection = core.tcp()
  connection:settimeout(2)
  if not connection:connect("unix@" .. SOCKET) then
    core.Alert("gate: cannot reach " .. SOCKET)
    return false
  end
  connection:send(words .. "\n")
  local answer = connection:receive("*a")
  connection:close()
  return answer ~= nil and not answer:match("%S")
end

local function accepts(backend)
  for _, server in pairs(backend.servers) do
    if server:get_stats().status:match("^UP") then
      return true
    end
  end
  return false
end

core.register_task(function()
  local open = {}
  while true do
    core.msleep(INTERVAL)
    for name in pairs(core.frontends) do
      local port = name:match("^listener_(%d+)$")
      if port then
        local wanted = accepts(core.backends["any_" .. port])
        if wanted ~= (open[name] ~= false) and command((wanted and "enable" or "disable") .. " frontend " .. name) then
          open[name] = wanted
        end
      end
    end
  end
end)
