-- Takes the token from a request: the Authorization header (RFC 6750, section 2.1), the subprotocol that browsers offer
-- because they cannot set that header, or a cookie if the settings name one. Never the query, which ends up in logs.

local base64 = require("ngx.base64")

local ngx = ngx
local find, match, sub = string.find, string.match, string.sub

local _M = {}

local SUBPROTOCOL_PREFIX = "base64url.bearer.authorization."

local function forbidden(reason)
    return nil, ngx.HTTP_FORBIDDEN, reason
end

-- NGINX refuses a second Authorization header by itself; were it to join them, no token would come of that.
local function from_header(value)
    if not value or value == "" then
        return nil, ngx.HTTP_UNAUTHORIZED, "no token"
    end
    -- RFC 9110, section 11.1: the scheme's name is case-insensitive. NGINX has cut off space around the value.
    local scheme, credentials = match(value, "^(%S+) *(.*)$")
    if not scheme or scheme:lower() ~= "bearer" then
        return nil, ngx.HTTP_UNAUTHORIZED, "no bearer token"
    end
    if credentials == "" then
        return nil, ngx.HTTP_UNAUTHORIZED, "empty bearer token"
    end
    return credentials
end

-- The token stands there as it is, or once more in base64url, which has no dot.
local function from_subprotocol(value)
    local token
    for element in (value or ""):gmatch("[^,%s]+") do
        if sub(element, 1, #SUBPROTOCOL_PREFIX) == SUBPROTOCOL_PREFIX then
            if token then
                return forbidden("more than one token in Sec-WebSocket-Protocol")
            end
            token = sub(element, #SUBPROTOCOL_PREFIX + 1)
        end
    end
    if token and not find(token, ".", 1, true) then
        token = base64.decode_base64url(token) or ""
    end
    return token
end

--- @param sources { subprotocol = boolean, cookie = name or "" }; the header is always looked at
-- @return the text that stands for a token, whatever it is, or nil, HTTP status, reason
function _M.from_request(sources)
    local var = ngx.var
    local token, status, reason = from_header(var.http_authorization)
    if sources.subprotocol then
        local offered, refused, why = from_subprotocol(var.http_sec_websocket_protocol)
        if refused then
            return nil, refused, why
        end
        if offered and token then
            return forbidden("a token in the header and another in the subprotocol")
        end
        token = token or offered
    end
    if not token and sources.cookie ~= "" then
        token = var["cookie_" .. sources.cookie]
    end
    if not token or token == "" then
        return nil, status or ngx.HTTP_UNAUTHORIZED, reason or "no token"
    end
    return token
end

return _M
