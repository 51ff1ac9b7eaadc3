-- Takes the bearer token from a request: RFC 6750, section 2.1 (the Authorization header, nothing else).

local ngx = ngx
local type = type

local _M = {}

-- Above the largest token that identity providers issue in practice, below NGINX's header buffers.
local MAX_TOKEN_BYTES = 16384
local MAX_HEADERS = 100

--- @return the token, or nil, HTTP status, reason
function _M.from_request()
    local headers, err = ngx.req.get_headers(MAX_HEADERS)
    if err == "truncated" then
        -- A second Authorization header could hide behind the limit.
        return nil, ngx.HTTP_FORBIDDEN, "more than " .. MAX_HEADERS .. " request headers"
    end
    local value = headers["authorization"]
    if type(value) == "table" then
        return nil, ngx.HTTP_FORBIDDEN, "more than one Authorization header"
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
    if #credentials > MAX_TOKEN_BYTES then
        return nil, ngx.HTTP_FORBIDDEN, "token of " .. #credentials .. " bytes"
    end
    -- RFC 6750: b64token.
    if not credentials:find("^[%w%-%._~%+/]+=*$") then
        return nil, ngx.HTTP_FORBIDDEN, "not a bearer token's syntax"
    end
    return credentials
end

return _M
