--- Close codes (RFC 6455, section 7.4; the IANA "WebSocket Close Code Number Registry").

local _M = {
    NORMAL = 1000,
    GOING_AWAY = 1001,
    PROTOCOL_ERROR = 1002,
    NO_STATUS = 1005, -- never on the wire: the peer's close frame was empty
    ABNORMAL = 1006, -- never on the wire: the connection ended without a close frame
    INVALID_PAYLOAD = 1007,
    POLICY_VIOLATION = 1008,
    TOO_LARGE = 1009,
    INTERNAL_ERROR = 1011,
    TOKEN_EXPIRED = 4401, -- ours: after HTTP's 401
    ENDED_BY_OPERATOR = 4403, -- ours: after HTTP's 403
}

--- May this code stand in a close frame? 1004 to 1006 and 1015 are reserved, 1016 to 2999 unassigned.
function _M.may_be_sent(code)
    if code >= 3000 then
        return code <= 4999
    end
    return (code >= 1000 and code <= 1003) or (code >= 1007 and code <= 1014)
end

return _M
