--- Frames from server to client (RFC 6455, section 5.2): never masked, never fragmented.

local bit = require("bit")

local band, rshift = bit.band, bit.rshift
local char = string.char
local floor = math.floor
local sub = string.sub

local BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8a -- FIN and the opcode
local LONGEST_CONTROL = 125

local _M = {}

--- Header of a whole binary message of `length` payload bytes.
function _M.header(length)
    if length < 126 then
        return char(BINARY, length)
    elseif length < 65536 then
        return char(BINARY, 126, rshift(length, 8), band(length, 0xff))
    end
    local high, low = floor(length / 4294967296), length % 4294967296
    return char(BINARY, 127, band(rshift(high, 24), 0xff), band(rshift(high, 16), 0xff), band(rshift(high, 8), 0xff),
        band(high, 0xff), band(rshift(low, 24), 0xff), band(rshift(low, 16), 0xff), band(rshift(low, 8), 0xff),
        band(low, 0xff))
end

--- A ping; `payload` is at most 125 bytes.
function _M.ping(payload)
    return char(PING, #payload) .. payload
end

--- The pong that answers a ping of this payload.
function _M.pong(payload)
    return char(PONG, #payload) .. payload
end

--- A close frame. Without a code it is empty; `reason` is cut to fit and must be ASCII.
function _M.close(code, reason)
    if not code then
        return char(CLOSE, 0)
    end
    reason = sub(reason or "", 1, LONGEST_CONTROL - 2)
    return char(CLOSE, #reason + 2, rshift(code, 8), band(code, 0xff)) .. reason
end

return _M
