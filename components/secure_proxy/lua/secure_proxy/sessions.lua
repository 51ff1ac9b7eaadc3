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
local CLOSE_SECONDS = 5 -- for the client to answer the close frame

local sessions = {}
local module_sessions = {} -- those among them that a module serves
local seen_orders = 0

local function finish(session, code, reason)
    if session.of_module then
        module_session.cut(session, code, reason)
    else
        verdict.pass(session, code, reason, CLOSE_SECONDS)
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

local function look_after(premature)
    if not premature then
        obey_orders()
        end_overdue()
    end
end

--- Runs in init_worker.
function _M.start_worker()
    registry.start_worker()
    seen_orders = registry.orders()
    assert(ngx.timer.every(POLL_S, look_after))
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

--- The current request has become a session: in shared memory, and here.
-- @param session our bridge's, or nil when a module serves it
function _M.opened(session)
    local ctx = ngx.ctx
    local record = audit.request()
    record.expires_at = ctx.identity.expires_at
    ctx.session = session or module_session.new(record.expires_at, config.limits.max_session_age_ms / 1000)
    registry.enter({
        id = record.id,
        subject = record.subject,
        issuer = record.issuer,
        client = record.client,
        route = record.route,
        opened_at = ctx.opened_at,
        expires_at = record.expires_at,
    })
    sessions[record.id] = ctx.session
    if ctx.session.of_module then
        module_sessions[record.id] = ctx.session
    end
end

--- The current request's session is over.
function _M.ended()
    local id = ngx.ctx.session_id
    sessions[id], module_sessions[id] = nil, nil
    registry.leave(id)
end

--- Until when may the session live that is about to expire?
-- @return epoch seconds, or nil when no fresh token came
function _M.renewed_until(id)
    local record = registry.find(id)
    return record and record.expires_at
end

return _M
