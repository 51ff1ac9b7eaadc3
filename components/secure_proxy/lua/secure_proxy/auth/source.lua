-- Takes the token from a request: the Authorization header (RFC 6750, section 2.1), the subprotocol that browsers offer
-- because they cannot set that header, or a cookie if the settings name one. Never the query, which ends up in logs.

local base64 = require("ngx.base64")

local ngx = ngx
local type = type

local _M = {}

-- Above the largest token that identity providers issue in practice, below NGINX's header buffers.
local MAX_TOKEN_BYTES = 16384
local MAX_HEADERS = 100
local SUBPROTOCOL_PREFIX = "base64url.bearer.authorization."

local function forbidden(reason)
    return nil, ngx.HTTP_FORBIDDEN, reason
end

local function from_header(value)
    if type(value) == "table" then
        return forbidden("more than one Authorization header")
    end
    if not value or value == "" then
        return nil, ngx.HTTP_UNAUTHORIZED, "no token"
    end
    -- RFC 9110, section 11.1: the scheme's name is case-insensitive.
    local scheme, credentials = value:match("^(%S+)%s*(.-)%s*$")
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
    if type(value) == "table" then
        value = table.concat(value, ",")
    end
    local token
    for element in (value or ""):gmatch("[^,%s]+") do
        if element:sub(1, #SUBPROTOCOL_PREFIX) == SUBPROTOCOL_PREFIX then
            if token then
                return forbidden("more than one token in Sec-WebSocket-Protocol")
            end
            token = element:sub(#SUBPROTOCOL_PREFIX + 1)
        end
    end
    if token and not token:find(".", 1, true) then
        token = base64.decode_base64url(token) or ""
    end
    return token
end

local function check_syntax(token)
    if #token > MAX_TOKEN_BYTES then
        return forbidden("token of " .. #token .. " bytes")
    end
    -- RFC 6750: b64token.
    if not token:find("^[%w%-%._~%+/]+=*$") then
        return forbidden("not a bearer token's syntax")
    end
    return token
end

--- @param sources { subprotocol = boolean, cookie = name or "" }; the header is always looked at
-- @return the token, or nil, HTTP status, reason
function _M.from_request(sources)
    local headers, err = ngx.req.get_headers(MAX_HEADERS)
    if err == "truncated" then
        -- A second Authorization header could hide behind the limit.
        return forbidden("more than " .. MAX_HEADERS .. " request headers")
    end
    local token, status, reason = from_header(headers["authorization"])
    if not token and status == ngx.HTTP_FORBIDDEN then
        return nil, status, reason
    end
    if sources.subprotocol then
        local offered, refused, why = from_subprotocol(headers["sec-websocket-protocol"])
        if refused then
            return nil, refused, why
        end
        if offered and token then
            return forbidden("a token in the header and another in the subprotocol")
        end
        token = token or offered
    end
    if not token and sources.cookie ~= "" then
        token = ngx.var["cookie_" .. sources.cookie]
    end
    if not token or token == "" then
        return nil, status or ngx.HTTP_UNAUTHORIZED, reason or "no token"
    end
    return check_syntax(token)
end

return _M
