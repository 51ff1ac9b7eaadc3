-- Whatever way a request ended, what it held is released and its audit record is written: at the latest in the log
-- phase.

local audit = require("secure_proxy.audit")
local limits = require("secure_proxy.limits")
local registry = require("secure_proxy.registry")
local sessions = require("secure_proxy.sessions")

local ngx = ngx

local _M = {}

local ABNORMAL = 1006
-- NGINX turned the request away by itself: for its size, its pace, its form, its method, a path that does not exist.
local UNSTATED = { rule = "request", reason = "not a request that is served here" }
local BY_STATUS = {
    [408] = { rule = "limits.headerTimeout", reason = "the request did not arrive in time" },
    [413] = { rule = "limits.maxRequestBody", reason = "the request's body is too large" },
    [499] = { rule = "request", reason = "the client left before it was answered" },
}
local TWO_TOKENS = { rule = "token", reason = "more than one Authorization header" }
-- Whom NGINX has asked for the answer, by listener.
local SERVERS = { oauth = "identity provider", wss = "application" }
local SILENT_SERVER = {
    [502] = "cannot be reached, or did not answer as it must",
    [504] = "did not answer in time",
}

-- The answer is a server's, or the lack of one: nothing was wrong with the request, as far as the proxy can say.
local function refusal_of_server()
    local var = ngx.var
    local silent = SILENT_SERVER[ngx.status]
    -- Without an answer's header there is no time at which it came.
    if silent and not (var.upstream_header_time or ""):find("%d") then
        return { rule = SERVERS[var.listener], reason = silent }
    end
    return { rule = SERVERS[var.listener], reason = "answered " .. ngx.status }
end

-- NGINX answers 400 to a second Authorization header before our code is asked.
local function refusal_of_nginx()
    if ngx.status == ngx.HTTP_BAD_REQUEST and type(ngx.req.get_headers().authorization) == "table" then
        return TWO_TOKENS
    end
    if ngx.status ~= 499 and ngx.var.upstream_status then
        return refusal_of_server()
    end
    return BY_STATUS[ngx.status] or UNSTATED
end

local function write_end(ctx)
    local session = ctx.session or {} -- none when it broke off between its opening record and its beginning
    local record = audit.request()
    record.backend = ctx.backend
    local duration = session.duration or ngx.now() - ctx.opened_at
    record.duration_s = math.floor(duration * 1000 + 0.5) / 1000
    record.bytes_up = session.bytes_up
    record.bytes_down = session.bytes_down
    record.frames_up = session.frames_up
    record.frames_down = session.frames_down
    record.bytes_lost = session.bytes_lost
    record.close_code, record.close_reason = session.code, session.reason
    -- Of a session that a module served only that is known which ended it from outside.
    if not session.code and not session.of_module then
        record.close_code, record.close_reason = ABNORMAL, "the session was broken off"
    end
    audit.write("end", record)
end

local function write_refusal(ctx)
    local record = audit.request()
    local refusal = ctx.refusal or refusal_of_nginx()
    record.status = ngx.status
    record.rule = refusal.rule
    record.reason = refusal.reason
    record.unlogged = limits.take_unlogged()
    audit.write("refusal", record)
end

-- Beyond the limits of an address, one refusal a second is logged, here and by NGINX, whose turn comes after ours.
local function is_logged(ctx)
    local within = ctx.within_limits
    if within == nil then
        -- NGINX turned the request away before our code could count it.
        within = limits.check_request()
    end
    if within or limits.may_log() then
        return true
    end
    ngx.var.unlogged = "1"
    return false
end

--- Gives back what the current request held.
function _M.release()
    local ctx = ngx.ctx
    for _, name in ipairs(ctx.held or {}) do
        registry.release(name)
    end
    ctx.held = nil
    sessions.ended()
end

--- The current request's session is over: says so once in the audit log.
function _M.end_session()
    local ctx = ngx.ctx
    if ctx.session_id and not ctx.end_written then
        ctx.end_written = true
        write_end(ctx)
    end
end

--- Runs in log_by_lua.
function _M.finish()
    local ctx = ngx.ctx
    _M.release()
    if ctx.session_id then
        _M.end_session()
    elseif (ctx.refusal or ngx.status >= 400) and is_logged(ctx) then
        write_refusal(ctx)
    end
end

return _M
