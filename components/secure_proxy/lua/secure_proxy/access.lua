-- Before and in the access phase: who is calling, and may they; or a refusal. Cheap checks come first, so that a flood
-- is turned away before it costs a signature.

local audit = require("secure_proxy.audit")
local authentication = require("secure_proxy.auth")
local config = require("secure_proxy.config")
local limits = require("secure_proxy.limits")
local redaction = require("secure_proxy.redaction")
local refusal = require("secure_proxy.refusal")
local registry = require("secure_proxy.registry")
local routes = require("secure_proxy.route")
local sessions = require("secure_proxy.sessions")

local ngx = ngx

local _M = {}

local SUBPROTOCOL = "binary"
local HEADER_ONLY = { subprotocol = false, cookie = "" }

-- Which rule a refused authentication comes under.
local RULES = { [401] = "token missing", [403] = "token", [503] = "verifier" }

local function too_many_requests(setting)
    ngx.ctx.within_limits = false
    return refusal.refuse(ngx.HTTP_TOO_MANY_REQUESTS, setting, "too many requests of this address")
end

-- Every request counts, also one that comes to nothing: each costs a line in the logs.
local function check_address()
    local within = limits.check_request()
    ngx.ctx.within_limits = within
    local ok, rule = limits.check_networks()
    if not ok then
        return refusal.refuse(ngx.HTTP_FORBIDDEN, rule, "address is not admitted")
    end
    if not within then
        return too_many_requests("limits.handshakesPerAddress")
    end
end

-- The endpoints of the OpenID Connect server take fewer requests than the listener does.
local function check_endpoint(name)
    if not limits.check_rate(name, config.limits.token_requests_per_address) then
        return too_many_requests("limits.tokenRequestsPerAddress")
    end
end

local function is_authorization_request()
    return ngx.var.uri == "/authorize" and ngx.var.listener == "oauth"
end

--- Begins every request on both listeners, before NGINX itself finds something to log about it.
function _M.begin()
    -- Error pages and questions to the authorizer belong to a request that began already. /authorize needs its query,
    -- so nothing may be logged about it outside its location, where it begins.
    if ngx.req.is_internal() or is_authorization_request() then
        return
    end
    redaction.hide_query()
    check_address()
end

local function no_room(err)
    ngx.log(ngx.ERR, "no session without an entry in the registry: ", err)
    return refusal.refuse(ngx.HTTP_SERVICE_UNAVAILABLE, "session registry", err)
end

-- Held until the session ends: secure_proxy.outcome releases it, however the request ends.
local function hold(name, limit, rule)
    if limit == 0 then
        return
    end
    local counted, err = registry.acquire(name, limit)
    if err then
        return no_room(err)
    elseif not counted then
        return refusal.refuse(ngx.HTTP_TOO_MANY_REQUESTS, rule, "too many connections")
    end
    local held = ngx.ctx.held or {}
    held[#held + 1] = name
    ngx.ctx.held = held
end

-- Whoever has a token without a subject cannot be told from others who have one.
local function hold_subject(identity)
    if identity.subject then
        local name = "s:" .. identity.issuer .. "\0" .. identity.subject
        hold(name, config.limits.connections_per_subject, "limits.connectionsPerSubject")
    end
end

-- @return the client's certificate as the audit log shows it, or nil when none was given
local function client_certificate()
    local mode = config.authentication.client_certificates
    if mode == "off" then
        return nil
    end
    local var = ngx.var
    if var.ssl_client_verify == "SUCCESS" then
        return { subject = var.ssl_client_s_dn, serial = var.ssl_client_serial }
    end
    if mode == "required" or var.ssl_client_verify ~= "NONE" then
        return refusal.refuse(ngx.HTTP_FORBIDDEN, "authentication.clientCertificates", "no accepted client certificate")
    end
end

local function identify(sources, route)
    local certificate = client_certificate()
    local identity, status, reason = authentication.authenticate(sources, route)
    if not identity then
        return refusal.refuse(status, RULES[status], reason)
    end
    identity.certificate = certificate
    ngx.ctx.identity = identity
    return identity
end

--- WSS listener: lets a request for a session through with `ngx.ctx.identity` and `ngx.ctx.route` set, or ends it.
function _M.admit_session()
    hold("a:" .. ngx.var.binary_remote_addr, config.limits.connections_per_address, "limits.connectionsPerAddress")
    local ok, err = audit.ready()
    if not ok then
        ngx.log(ngx.ALERT, "no session without an audit log: ", err)
        return refusal.refuse(ngx.HTTP_SERVICE_UNAVAILABLE, "audit log", "cannot be written")
    end
    local route = routes.current()
    if not route then
        return refusal.refuse(ngx.HTTP_FORBIDDEN, "authentication.routes", "no route covers this path")
    end
    ngx.ctx.route = route
    local identity = identify(config.authentication.token_sources, route)
    hold_subject(identity)
    ok, err = sessions.admit()
    if not ok then
        return no_room(err)
    end
    -- A token that came as a subprotocol has done its work; nothing behind this sees or echoes it.
    if ngx.var.http_sec_websocket_protocol then
        local offered = "," .. ngx.var.http_sec_websocket_protocol:gsub("%s", "") .. ","
        local binary = offered:find("," .. SUBPROTOCOL .. ",", 1, true)
        ngx.req.set_header("Sec-WebSocket-Protocol", binary and SUBPROTOCOL or nil)
    end
end

--- WSS listener: the caller of the session API, known by the token in the Authorization header alone, so that no page
-- can make a browser call it with a cookie.
function _M.admit_api_call()
    if ngx.req.get_method() ~= "OPTIONS" then
        identify(HEADER_ONLY, nil)
    end
end

-- Not limit_except: its error line would quote the query.
local function check_method(...)
    local method = ngx.req.get_method()
    for _, wanted in ipairs({ ... }) do
        if method == wanted then
            return
        end
    end
    local allowed = table.concat({ ... }, ", ")
    ngx.header["Allow"] = allowed
    return refusal.refuse(405, "method", "is not " .. allowed)
end

--- OAuth listener: /authorize, whose query belongs to it. Both methods are OpenID Connect Core 1.0's, section 3.1.2.1.
function _M.admit_authorization_request()
    check_address()
    check_endpoint("authorize")
    check_method("GET", "POST")
    client_certificate()
end

--- OAuth listener: /configuration.
function _M.admit_configuration_request()
    check_endpoint("configuration")
    check_method("GET")
    client_certificate()
end

--- OAuth listener: /token.
function _M.admit_token_request()
    check_endpoint("token")
    check_method("POST")
    -- A request's own parameters stand in its body (RFC 6749, section 3.2).
    if ngx.var.is_args ~= "" then
        return refusal.refuse(ngx.HTTP_BAD_REQUEST, "token request", "parameters in the query")
    end
    client_certificate()
end

return _M
