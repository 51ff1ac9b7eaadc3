--- How a session ends. Whoever ends it first decides; what follows from that is the controller's work (ws/session.lua).

local direct = require("secure_proxy.ws.direct")

local CLOSE_SECONDS = 5

local _M = {
    --- How long a client that is told of the end has to answer our close frame.
    CLOSE_SECONDS = CLOSE_SECONDS,
}

--- End the session, unless something else has, and wake its controller.
-- @param code close code, for the close frame and the log
-- @param reason short ASCII text, for the same two
-- @param patience seconds that the client's own close frame is awaited; 0 if it has come, or would not be believed
function _M.pass(session, code, reason, patience)
    if not session.code then
        session.code, session.reason, session.patience = code, reason, patience
    end
    session.wake:post(1)
end

--- From now on nothing of the client reaches the backend, which is told so. What the uplink has in its hands goes
-- first; what comes later it discards.
function _M.stop_uplink(session)
    session.backend_deaf = true
    if session.fd and session.pushing == 0 then
        session.half_closed = session.half_closed or direct.half_close(session.fd)
    end
end

--- End the session because its right to exist has ended, or because it cannot be served: the client's close frame is
-- awaited, and everything before it is discarded. A verdict that was passed before stands, and loses the rest of its
-- patience with the client's data.
function _M.cut(session, code, reason)
    _M.stop_uplink(session)
    _M.pass(session, code, reason, CLOSE_SECONDS)
end

return _M
