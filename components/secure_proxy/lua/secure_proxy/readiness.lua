-- /readyz: may a load balancer send new sessions here?

local config = require("secure_proxy.config")
local authentication = require("secure_proxy.auth")
local registry = require("secure_proxy.registry")

local ngx = ngx

local _M = {}

-- Probes from several load balancer nodes within this time share one answer, so that health checks
-- cost the application at most one connection a second.
local ANSWER_LIFETIME_S = 1
local CONNECT_TIMEOUT_MS = 2000

local function application_accepts()
    local socket = ngx.socket.tcp()
    socket:settimeouts(CONNECT_TIMEOUT_MS, CONNECT_TIMEOUT_MS, CONNECT_TIMEOUT_MS)
    local ok, err = socket:connect(config.backend.host, config.backend.wss_port)
    if not ok then
        return nil, "application: " .. err
    end
    socket:close()
    return true
end

local function probe()
    local ok, reason = application_accepts()
    if not ok then
        return nil, reason
    end
    ok, reason = authentication.ready()
    if not ok then
        return nil, "authentication: " .. reason
    end
    if not registry.has_room() then
        return nil, "sessions: no memory for more"
    end
    return true
end

--- Answers 200 `ready`, or 503 with the name of what is missing.
function _M.serve()
    local answers = ngx.shared.readiness
    local reason = answers:get("reason")
    if reason == nil then
        local ok, err = probe()
        reason = ok and "" or err
        answers:set("reason", reason, ANSWER_LIFETIME_S)
        local before = answers:get("before")
        if before ~= reason then
            answers:set("before", reason)
            ngx.log(ngx.NOTICE, reason == "" and "ready" or "not ready: " .. reason)
        end
    end

    ngx.header["Content-Type"] = "text/plain"
    if reason == "" then
        ngx.say("ready")
        return
    end
    ngx.status = ngx.HTTP_SERVICE_UNAVAILABLE
    ngx.say("not ready: ", reason)
end

return _M
