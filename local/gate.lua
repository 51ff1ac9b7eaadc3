-- Stops a listener while none of its targets accepts a connection, so that clients are refused, and resumes it after.
--
-- HAProxy completes a client's handshake before it turns to a target. Behind an AWS Network Load Balancer the refusal of the
-- last target reaches the client as a refusal. "disable frontend" (HAProxy management guide, 9.3) releases the port.

local INTERVAL = 100 -- milliseconds
local SOCKET = os.getenv("GATE_SOCKET")

-- Whether it worked shows in the frontend's status, at the next look.
local function command(words)
  local connection = core.tcp()
  connection:settimeout(2)
  if not connection:connect("unix@" .. SOCKET) then
    core.Alert("gate: cannot reach " .. SOCKET)
    return
  end
  connection:send(words .. "\n")
  connection:receive("*a")
  connection:close()
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
  while true do
    core.msleep(INTERVAL)
    for name, frontend in pairs(core.frontends) do
      local port = name:match("^listener_(%d+)$")
      if port then
        local wanted, open = accepts(core.backends["any_" .. port]), frontend:get_stats().status == "OPEN"
        if wanted ~= open then
          command((wanted and "enable" or "disable") .. " frontend " .. name)
        end
      end
    end
  end
end)
