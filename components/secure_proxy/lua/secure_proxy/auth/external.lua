-- Provider `external`: an HTTP authorizer decides about the signature. It gets the bearer token and answers 2xx, 401 or
-- 403; with 2xx it may name the subject (X-Auth-Subject) and the expiry in epoch seconds (X-Auth-Expires), with a
-- refusal the reason (X-Auth-Reason), which goes to the audit log alone.
--
-- A subrequest instead of auth_request, because auth_request turns every other answer into a 500 and the
-- outcome rules of secure_proxy.auth need to tell "refused" from "nobody can say".

local ngx = ngx
local tonumber = tonumber
local type = type

local _M = {}

local LOCATION = "/_authorizer"
local MAX_SUBJECT_BYTES = 255
local MAX_REASON_BYTES = 100
-- Of these an HTTP answer has at least one (RFC 9110 asks for the first).
local HTTP_FIELDS = { "date", "content_length", "transfer_encoding", "connection", "server", "x_auth_subject" }

local function is_success(status)
    return status >= 200 and status < 300
end

-- @return the answer's status, its headers under lower-case names, and whether it broke off
local function ask(credentials)
    local ctx = { authorizer_credentials = credentials }
    local answer = ngx.location.capture(LOCATION, { ctx = ctx })
    -- NGINX takes whatever is not HTTP for an answer of HTTP/0.9, which knows no status, and calls it 200.
    if is_success(answer.status) and not ctx.has_http_fields then
        return ngx.HTTP_BAD_GATEWAY, {}, false
    end
    local headers = {}
    for name, value in pairs(answer.header) do
        headers[name:lower()] = value
    end
    return answer.status, headers, answer.truncated
end

local function unavailable(reason)
    return nil, ngx.HTTP_SERVICE_UNAVAILABLE, reason
end

-- What an authorizer says about its reason, if it is plain words: it must not be a way into the log.
local function stated_reason(headers)
    local reason = headers["x-auth-reason"]
    if type(reason) == "string" and #reason <= MAX_REASON_BYTES and reason:find("^[%w ,.:'_-]+$") then
        return ": " .. reason
    end
    return ""
end

--- @param token text; the rest of what providers get is not needed here
-- @return { subject, expires_at } as far as the authorizer names them, or nil, HTTP status, reason
function _M.verify(token)
    local status, headers, truncated = ask("Bearer " .. token)
    if status == ngx.HTTP_UNAUTHORIZED or status == ngx.HTTP_FORBIDDEN then
        return nil, ngx.HTTP_FORBIDDEN, "authorizer refused the token with " .. status .. stated_reason(headers)
    end
    if not is_success(status) or truncated then
        return unavailable("authorizer answered " .. status)
    end

    local expires = headers["x-auth-expires"]
    local expires_at
    if expires ~= nil then
        expires_at = type(expires) == "string" and tonumber(expires, 10)
        if not expires_at then
            return unavailable("authorizer sent an expiry that is not a number of seconds")
        end
    end
    local subject = headers["x-auth-subject"]
    if subject ~= nil and (type(subject) ~= "string" or #subject > MAX_SUBJECT_BYTES) then
        return unavailable("authorizer sent an unusable subject")
    end
    return { subject = subject, expires_at = expires_at }
end

--- The authorizer is ready when it refuses a request without a token, as it must.
-- @return true, or nil and the reason
function _M.ready()
    local status = ask("")
    if status == ngx.HTTP_UNAUTHORIZED or status == ngx.HTTP_FORBIDDEN then
        return true
    end
    if is_success(status) then
        return nil, "authorizer accepts a request without a token"
    end
    return nil, "authorizer answered " .. status
end

--- Runs in the header filter of the subrequest.
function _M.note_answer()
    for _, name in ipairs(HTTP_FIELDS) do
        if ngx.var["upstream_http_" .. name] then
            ngx.ctx.has_http_fields = true
        end
    end
end

function _M.start_worker() end

return _M
