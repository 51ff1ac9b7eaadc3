-- The sessions of this worker: entered when they open, ended when an operator asks, extended when a fresh token came.

local audit = require("secure_proxy.audit")
local close_codes = require("secure_proxy.ws.close_codes")
local registry = require("secure_proxy.registry")
local verdict = require("secure_proxy.ws.verdict")

local ngx = ngx

local _M = {}

local POLL_S = 0.5
local CLOSE_SECONDS = 5 -- for the client to answer the close frame

local sessions = {}
local seen_orders = 0

local function obey_orders(premature)
    local orders = registry.orders()
    if premature or orders == seen_orders then
        return
    end
    seen_orders = orders
    for id, session in pairs(sessions) do
        if registry.is_ordered_to_end(id) then
            verdict.pass(session, close_codes.ENDED_BY_OPERATOR, "ended by the operator", CLOSE_SECONDS)
        end
    end
end

--- Runs in init_worker.
function _M.start_worker()
    registry.start_worker()
    seen_orders = registry.orders()
    assert(ngx.timer.every(POLL_S, obey_orders))
end

--- The current request has become a session: in the audit log, in shared memory, and here.
-- @param session the bridge's, or nil when the bridge has none that could be ended from outside
-- @param backend "host:port"
function _M.opened(session, backend)
    local ctx = ngx.ctx
    local record = audit.request()
    record.backend = backend
    record.expires_at = ctx.identity.expires_at
    audit.write("opening", record)
    ctx.session_id = record.id
    ctx.session = session or {}
    ctx.backend = backend
    ctx.opened_at = ngx.now()
    registry.enter({
        id = record.id,
        subject = record.subject,
        issuer = record.issuer,
        client = record.client,
        route = record.route,
        opened_at = ctx.opened_at,
        expires_at = record.expires_at,
    })
    sessions[record.id] = session
end

--- The current request's session is over.
function _M.ended()
    local id = ngx.ctx.session_id
    sessions[id] = nil
    registry.leave(id)
end

--- Until when may the session live that is about to expire?
-- @return epoch seconds, or nil when no fresh token came
function _M.renewed_until(id)
    local record = registry.find(id)
    return record and record.expires_at
end

return _M
