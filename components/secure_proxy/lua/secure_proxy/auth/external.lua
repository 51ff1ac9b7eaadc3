-- Provider `external`: an HTTP authorizer decides about the signature. It gets the bearer token and answers 2xx, 401 or
-- 403; with 2xx it may name the subject (X-Auth-Subject) and the expiry in epoch seconds (X-Auth-Expires), with a
-- refusal the reason (X-Auth-Reason), which goes to the audit log alone.
--
-- Not auth_request, which turns every other answer into a 500: the outcome rules of secure_proxy.auth need to tell
-- "refused" from "nobody can say". The exchange runs in a subrequest, whose location has the authorities that an
-- authorizer's certificate is checked against.

local authorizer = require("secure_proxy.auth.authorizer")

local ngx = ngx
local tonumber = tonumber

local _M = {}

local LOCATION = "/_authorizer"
local MAX_SUBJECT_BYTES = 255
local MAX_REASON_BYTES = 100

-- @param credentials what the Authorization header says, or nil for none
-- @return { status, fields }, or nil and the reason
local function ask(credentials)
    local ctx = { authorizer_credentials = credentials }
    ngx.location.capture(LOCATION, { ctx = ctx })
    return ctx.authorizer_answer, ctx.authorizer_failure or "was not asked"
end

local function is_success(status)
    return status >= 200 and status < 300
end

local function is_refusal(status)
    return status == ngx.HTTP_UNAUTHORIZED or status == ngx.HTTP_FORBIDDEN
end

local function unavailable(reason)
    return nil, ngx.HTTP_SERVICE_UNAVAILABLE, "authorizer " .. reason
end

-- What an authorizer says about its reason, if it is plain words: it must not be a way into the log.
local function stated_reason(fields)
    local reason = fields["x-auth-reason"]
    if reason and #reason <= MAX_REASON_BYTES and reason:find("^[%w ,.:'_-]+$") then
        return ": " .. reason
    end
    return ""
end

--- @param token text; the rest of what providers get is not needed here
-- @return { subject, expires_at } as far as the authorizer names them, or nil, HTTP status, reason
function _M.verify(token)
    local answer, failure = ask("Bearer " .. token)
    if not answer then
        return unavailable(failure)
    end
    local status, fields = answer.status, answer.fields
    if is_refusal(status) then
        return nil, ngx.HTTP_FORBIDDEN, "authorizer refused the token with " .. status .. stated_reason(fields)
    end
    if not is_success(status) then
        return unavailable("answered " .. status)
    end

    local expires_at
    if fields["x-auth-expires"] then
        expires_at = fields["x-auth-expires"]:find("^%d+$") and tonumber(fields["x-auth-expires"], 10)
        if not expires_at then
            return unavailable("sent an expiry that is not a number of seconds")
        end
    end
    local subject = fields["x-auth-subject"]
    if subject and (subject == "" or #subject > MAX_SUBJECT_BYTES or subject:find("%c")) then
        return unavailable("sent an unusable subject")
    end
    return { subject = subject, expires_at = expires_at }
end

--- The authorizer is ready when it refuses a request without a token, as it must.
-- @return true, or nil and the reason
function _M.ready()
    local answer, failure = ask(nil)
    if not answer then
        return nil, "authorizer " .. failure
    end
    if is_refusal(answer.status) then
        return true
    end
    if is_success(answer.status) then
        return nil, "authorizer accepts a request without a token"
    end
    return nil, "authorizer answered " .. answer.status
end

--- Content handler of the subrequest.
function _M.serve_subrequest()
    local ctx = ngx.ctx
    ctx.authorizer_answer, ctx.authorizer_failure = authorizer.ask(ctx.authorizer_credentials, ngx.var.remote_addr)
end

function _M.start_worker() end

return _M
