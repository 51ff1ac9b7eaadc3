--- How a session ends. Whoever ends it first decides; what follows from that is the controller's work (ws/session.lua).

local _M = {}

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

return _M
