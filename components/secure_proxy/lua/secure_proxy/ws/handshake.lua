--- The opening handshake (RFC 6455, sections 4.2.1 and 4.2.2): what a request must bring, and the answer to it.

local ngx = ngx

local gmatch, lower, match = string.gmatch, string.lower, string.match

local VERSION = "13"
local SUBPROTOCOL = "binary"
local KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" -- section 1.3

local _M = {}

-- Does a comma-separated list hold this token? Case does not matter (RFC 9110, sections 7.6.1 and 7.8).
local function lists(value, token)
    for element in gmatch(value or "", "[^,%s]+") do
        if lower(element) == token then
            return true
        end
    end
    return false
end

-- Subprotocol names, unlike the other lists, are compared with their case.
local function select_subprotocol(offer)
    for element in gmatch(offer or "", "[^,%s]+") do
        if element == SUBPROTOCOL then
            return SUBPROTOCOL
        end
    end
    return nil -- and no header is sent: the client decides whether it can do without (section 4.2.2, /subprotocol/)
end

-- A client that sends no Origin is not a browser (section 10.2), and only browsers need guarding here: their users'
-- cookies and addresses would otherwise be lent to any page they visit. Everything else is a matter of the token.
local function origin_allowed(origin, allowed)
    if not origin or not allowed or #allowed == 0 then
        return true
    end
    for _, candidate in ipairs(allowed) do
        if lower(candidate) == lower(origin) then
            return true
        end
    end
    return false
end

-- What a 426 tells the client to ask for (RFC 9110, section 15.5.22; RFC 6455, section 4.4).
local function upgrade_headers()
    return { Upgrade = "websocket", Connection = "upgrade", ["Sec-WebSocket-Version"] = VERSION }
end

-- 16 bytes are 22 base64 digits, of which the last has four bits to spare, and two signs of padding.
local function is_key(value)
    return value ~= nil and #value == 24 and match(value, "^[%w+/]+[AQgw]==$") ~= nil
end

local function refuse(status, reason, headers)
    return nil, { status = status, reason = reason, headers = headers or {} }
end

--- Judge a request.
-- @param request table: `method`, `version` (number: 1.1), `headers` (lower-case names; repeated ones joined by ", ")
-- @param allowed_origins list of origins, empty or nil for any
-- @return table with `key` and, if one was agreed on, `subprotocol`; or nil and a refusal: `status`, `reason`,
-- `headers`
function _M.check(request, allowed_origins)
    local headers = request.headers
    if request.method ~= "GET" then
        return refuse(405, "method must be GET", { Allow = "GET" })
    elseif request.version >= 2 then
        return refuse(505, "HTTP/1.1 is required")
    elseif
        request.version < 1.1 -- an HTTP/1.0 client's Upgrade must be ignored (RFC 9110, section 7.8)
        or not lists(headers.upgrade, "websocket")
        or not lists(headers.connection, "upgrade")
    then
        return refuse(426, "a WebSocket upgrade over HTTP/1.1 is required", upgrade_headers())
    elseif headers["sec-websocket-version"] ~= VERSION then
        return refuse(426, "WebSocket version must be " .. VERSION, upgrade_headers())
    elseif not is_key(headers["sec-websocket-key"]) then
        return refuse(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    elseif headers["transfer-encoding"] or (headers["content-length"] or "0") ~= "0" then
        return refuse(400, "the request must not have a body") -- its bytes would be taken for frames
    elseif not origin_allowed(headers.origin, allowed_origins) then
        return refuse(403, "origin not allowed")
    end
    return { key = headers["sec-websocket-key"], subprotocol = select_subprotocol(headers["sec-websocket-protocol"]) }
end

--- The 101 response that accepts `agreed`, as check() returned it.
-- @param headers further fields, or nil
function _M.accept(agreed, headers)
    local digest = ngx.encode_base64(ngx.sha1_bin(agreed.key .. KEY_SUFFIX))
    local subprotocol = agreed.subprotocol and "Sec-WebSocket-Protocol: " .. agreed.subprotocol .. "\r\n" or ""
    local further = ""
    for name, value in pairs(headers or {}) do
        further = further .. name .. ": " .. value .. "\r\n"
    end
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        .. digest
        .. "\r\n"
        .. subprotocol
        .. further
        .. "\r\n"
end

--- The current request, in the form check() takes.
function _M.request()
    local var = ngx.var
    return {
        method = ngx.req.get_method(),
        version = ngx.req.http_version() or 0.9,
        headers = {
            upgrade = var.http_upgrade,
            connection = var.http_connection,
            origin = var.http_origin,
            ["content-length"] = var.http_content_length,
            ["transfer-encoding"] = var.http_transfer_encoding,
            ["sec-websocket-key"] = var.http_sec_websocket_key,
            ["sec-websocket-version"] = var.http_sec_websocket_version,
            ["sec-websocket-protocol"] = var.http_sec_websocket_protocol,
        },
    }
end

return _M
