-- PROXY protocol version 2 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2): who the client
-- is, sent to the application before anything of the session.

local bit = require("bit")

local char = string.char

local _M = {}

local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"
local VERSION_AND_PROXY = 0x21
local TCP_OVER_IPV4 = 0x11
local UNIQUE_ID = 0x05 -- section 2.2.5
-- Section 2.2.7 leaves 0xE0 to 0xEF to applications.
local SUBJECT, ISSUER, ROUTE, CERTIFICATE = 0xE0, 0xE1, 0xE2, 0xE3

local function uint16(number)
    return char(bit.rshift(number, 8), number % 256)
end

local function ipv4(address)
    local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    if not d then
        return nil
    end
    return char(tonumber(a), tonumber(b), tonumber(c), tonumber(d))
end

local function field(kind, value)
    if value == nil then
        return ""
    end
    return char(kind) .. uint16(#value) .. value
end

--- @param client, server { address, port }
-- @param who { id, subject, issuer, route, certificate }: texts, each may be nil
-- @return the bytes, or nil and the reason
function _M.header(client, server, who)
    local source, destination = ipv4(client.address), ipv4(server.address)
    if not source or not destination then
        return nil, "only IPv4 connections can be announced"
    end
    local body = source .. destination .. uint16(client.port) .. uint16(server.port)
        .. field(UNIQUE_ID, who.id)
        .. field(SUBJECT, who.subject)
        .. field(ISSUER, who.issuer)
        .. field(ROUTE, who.route)
        .. field(CERTIFICATE, who.certificate)
    return SIGNATURE .. char(VERSION_AND_PROXY, TCP_OVER_IPV4) .. uint16(#body) .. body
end

return _M
