-- What a client may ask about its own sessions, with a token in the Authorization header:
--   GET  /.secure-proxy/sessions        its sessions on this machine, at most a hundred
--   POST /.secure-proxy/sessions/<id>   lets that session live as long as the token does
-- A load balancer may bring the call to a machine that does not have the session: that one answers 421 (RFC 9110,
-- section 15.5.20), and the client asks again over another connection.

local audit = require("secure_proxy.audit")
local authentication_rules = require("secure_proxy.auth")
local cjson = require("cjson.safe").new()
local config = require("secure_proxy.config")
local refusal = require("secure_proxy.refusal")
local registry = require("secure_proxy.registry")
local routes = require("secure_proxy.route")
local session_id = require("secure_proxy.session_id")
local source = require("secure_proxy.auth.source")

local ngx = ngx

local _M = {}

local PREFIX = "/.secure-proxy/sessions"
local MISDIRECTED = 421
local MOST_LISTED = 100
local HEADER_ONLY = { subprotocol = false, cookie = "" }

local function answer(text)
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    ngx.say(text)
end

-- Pages of the allowed origins may call from a browser (the Fetch standard's CORS protocol). Without a list of origins
-- none may: a session's extension has nothing to do with "any page".
local function allow_origin()
    local origin = ngx.var.http_origin
    for _, allowed in ipairs(config.limits.allowed_origins) do
        if origin and allowed:lower() == origin:lower() then
            ngx.header["Access-Control-Allow-Origin"] = origin
            ngx.header["Vary"] = "Origin"
            return true
        end
    end
    return false
end

local function list(identity)
    local found = {}
    local records = identity.subject and registry.sessions_of(identity.issuer, identity.subject, MOST_LISTED) or {}
    for _, record in ipairs(records) do
        if not record.closed then
            found[#found + 1] = { id = record.id, opened_at = record.opened_at, expires_at = record.expires_at }
        end
    end
    return answer('{"sessions":' .. (#found == 0 and "[]" or cjson.encode(found)) .. "}")
end

local function is_owner(identity, record)
    return identity.subject ~= nil and identity.subject == record.subject and identity.issuer == record.issuer
end

-- The token must satisfy what the session's own route asks for, which the access phase could not know yet.
local function check_route(record)
    local route = routes.named(record.route)
    if not route then
        return refusal.refuse(ngx.HTTP_FORBIDDEN, "session extension", "the session's route exists no more")
    end
    local identity, status, reason = authentication_rules.verify(source.from_request(HEADER_ONLY), route)
    if not identity then
        return refusal.refuse(status, "session extension", reason)
    end
end

local function has_ended()
    return refusal.refuse(ngx.HTTP_NOT_FOUND, "session extension", "the session has ended")
end

local function extend(identity, id)
    if not session_id.is_of_this_machine(id) then
        return refusal.refuse(MISDIRECTED, "session extension", "the session is not this machine's")
    end
    local record = registry.find(id)
    if not record or record.closed then
        return has_ended()
    end
    ngx.ctx.session_in_question = id
    if not is_owner(identity, record) then
        return refusal.refuse(ngx.HTTP_FORBIDDEN, "session extension", "the session is another subject's")
    end
    check_route(record)
    local expires_at = registry.extend(id, identity.expires_at)
    if not expires_at then
        return has_ended()
    end
    local fields = audit.request()
    fields.session = id
    fields.expires_at = expires_at
    audit.write("extension", fields)
    return answer(cjson.encode({ id = id, expires_at = expires_at }))
end

--- Serves a call; runs after secure_proxy.access.admit_api_call().
function _M.serve()
    local method, uri = ngx.req.get_method(), ngx.var.uri
    local origin_allowed = allow_origin()
    if method == "OPTIONS" then
        if origin_allowed then
            ngx.header["Access-Control-Allow-Methods"] = "GET, POST"
            ngx.header["Access-Control-Allow-Headers"] = "Authorization"
        end
        return ngx.exit(ngx.HTTP_NO_CONTENT)
    end
    local identity = ngx.ctx.identity
    if method == "GET" and uri == PREFIX then
        return list(identity)
    end
    local id = uri:match("^" .. PREFIX:gsub("[%.%-]", "%%%0") .. "/(%x+)$")
    if not id then
        return refusal.refuse(ngx.HTTP_NOT_FOUND, "session API", "no such resource")
    end
    if method ~= "POST" then
        return refusal.refuse(405, "session API", "method is not POST")
    end
    return extend(identity, id)
end

return _M
