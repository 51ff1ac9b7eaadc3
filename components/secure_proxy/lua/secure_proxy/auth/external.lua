-- Provider `external`: an HTTP authorizer decides. It gets the bearer token and answers 2xx, 401 or 403;
-- with 2xx it may name the subject (X-Auth-Subject) and the expiry in epoch seconds (X-Auth-Expires).
--
-- A subrequest instead of auth_request, because auth_request turns every other answer into a 500 and the
-- outcome rules of secure_proxy.auth need to tell "refused" from "nobody can say".

local ngx = ngx
local tonumber = tonumber

local _M = {}

local LOCATION = "/_authorizer"
local MAX_SUBJECT_BYTES = 512

local function ask(credentials)
    return ngx.location.capture(LOCATION, { ctx = { authorizer_credentials = credentials } })
end

local function is_success(status)
    return status >= 200 and status < 300
end

local function single(value)
    if type(value) == "table" then
        return nil
    end
    return value
end

--- @return identity, or nil, HTTP status, reason
function _M.verify(token)
    local answer = ask("Bearer " .. token)
    local status = answer.status
    if status == ngx.HTTP_UNAUTHORIZED or status == ngx.HTTP_FORBIDDEN then
        return nil, ngx.HTTP_FORBIDDEN, "authorizer refused the token with " .. status
    end
    if not is_success(status) or answer.truncated then
        return nil, ngx.HTTP_SERVICE_UNAVAILABLE, "authorizer answered " .. status
    end

    local expires = answer.header["X-Auth-Expires"]
    local expires_at
    if expires ~= nil then
        expires_at = tonumber(single(expires), 10)
        if not expires_at then
            return nil, ngx.HTTP_SERVICE_UNAVAILABLE, "authorizer sent an expiry that is not a number of seconds"
        end
    end
    local subject = single(answer.header["X-Auth-Subject"])
    if subject and #subject > MAX_SUBJECT_BYTES then
        return nil, ngx.HTTP_SERVICE_UNAVAILABLE, "authorizer sent a subject of " .. #subject .. " bytes"
    end
    return { subject = subject, expires_at = expires_at }
end

--- The authorizer is ready when it refuses a request without a token, as it must.
-- @return true, or nil and the reason
function _M.ready()
    local status = ask("").status
    if status == ngx.HTTP_UNAUTHORIZED or status == ngx.HTTP_FORBIDDEN then
        return true
    end
    if is_success(status) then
        return nil, "authorizer accepts a request without a token"
    end
    return nil, "authorizer answered " .. status
end

function _M.start_worker() end

return _M
