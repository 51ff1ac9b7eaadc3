-- The sessions of this worker: entered when they open, ended when an operator asks, extended when a fresh token came.
-- Those of our own bridge watch their time themselves; those of a module are watched here.

local audit = require("secure_proxy.audit")
local close_codes = require("secure_proxy.ws.close_codes")
local config = require("secure_proxy.config")
local module_session = require("secure_proxy.module_session")
local refusal = require("secure_proxy.refusal")
local registry = require("secure_proxy.registry")
local session_id = require("secure_proxy.session_id")
local verdict = require("secure_proxy.ws.verdict")

local ngx = ngx

local _M = {}

local POLL_S = 0.5

local sessions = {}
local module_sessions = {} -- those among them that a module serves
local seen_orders = 0
local looks_after_the_last = false

local function finish(session, code, reason)
    if session.of_module then
        if not session.code then
            _M.ending(session)
        end
        module_session.cut(session, code, reason)
    else
        verdict.cut(session, code, reason)
    end
end

local function obey_orders()
    local orders = registry.orders()
    if orders == seen_orders then
        return
    end
    seen_orders = orders
    for id, session in pairs(sessions) do
        if registry.is_ordered_to_end(id) then
            finish(session, close_codes.ENDED_BY_OPERATOR, "ended by the operator")
        end
    end
end

local function end_overdue()
    local now = ngx.now()
    for id, session in pairs(module_sessions) do
        if session.expires_at <= now then
            session.expires_at = _M.renewed_until(id) or session.expires_at
        end
        if session.expires_at <= now then
            finish(session, close_codes.TOKEN_EXPIRED, "token expired")
        elseif session.ends_at <= now then
            finish(session, close_codes.GOING_AWAY, "session age limit")
        end
    end
end

-- Timers that recur have ended with the worker's term, and one that is set now must be due at once: so it stays until
-- the last session has gone.
local function look_after_the_last()
    if looks_after_the_last then
        return
    end
    looks_after_the_last = true
    while next(sessions) do
        obey_orders()
        end_overdue()
        ngx.sleep(POLL_S)
    end
    looks_after_the_last = false
end

local function look_after(premature)
    if premature then
        return look_after_the_last()
    end
    obey_orders()
    end_overdue()
end

--- Runs in init_worker.
function _M.start_worker()
    registry.start_worker()
    seen_orders = registry.orders()
    assert(ngx.timer.every(POLL_S, look_after))
end

--- The current request may become a session: so that it can be reached when it is one, it is entered before.
-- @return true, or nil and the reason why it must not be opened
function _M.admit()
    local ctx = ngx.ctx
    local id = session_id.of_request()
    local ok, err = registry.enter({
        id = id,
        subject = ctx.identity.subject,
        issuer = ctx.identity.issuer,
        client = ngx.var.remote_addr,
        route = ctx.route.path,
        opened_at = ngx.now(),
        expires_at = ctx.identity.expires_at,
    })
    ctx.entered = ok and id
    return ok, err
end

--- The current request is about to become a session: in the audit log first of all.
-- @param backend "host:port"
-- @return whether the record is there; without it, there must be no session
function _M.record_opening(backend)
    local ctx = ngx.ctx
    local record = audit.request()
    record.id = session_id.of_request()
    record.backend = backend
    record.expires_at = ctx.identity.expires_at
    if not audit.write("opening", record) then
        refusal.note("audit log", "cannot be written")
        return false
    end
    ctx.session_id = record.id
    ctx.backend = backend
    ctx.opened_at = ngx.now()
    return true
end

--- The current request has become a session of this worker.
-- @param session our bridge's, or nil when a module serves it
function _M.opened(session)
    local ctx = ngx.ctx
    local record = audit.request()
    record.expires_at = ctx.identity.expires_at
    ctx.session = session or module_session.new(record.expires_at, config.limits.max_session_age_ms / 1000)
    ctx.session.id = record.id
    sessions[record.id] = ctx.session
    if ctx.session.of_module then
        module_sessions[record.id] = ctx.session
    end
    if registry.is_ordered_to_end(record.id) then
        seen_orders = nil -- the order came before the session: look again
    end
    if ngx.worker.exiting() then
        assert(ngx.timer.at(0, look_after_the_last))
    end
end

--- It is decided that the session ends, though it may take a while.
function _M.ending(session)
    registry.close(session.id)
end

--- The current request is no session any more, or did not become one.
function _M.ended()
    local ctx = ngx.ctx
    local id = ctx.entered
    if id then
        ctx.entered = nil
        sessions[id], module_sessions[id] = nil, nil
        registry.leave(id)
    end
end

--- Until when may the session live that is about to expire?
-- @return epoch seconds, or nil when no fresh token came
function _M.renewed_until(id)
    local record = registry.find(id)
    return record and record.expires_at
end

return _M
