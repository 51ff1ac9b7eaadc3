--- Frames from server to client (RFC 6455, section 5.2): never masked, never fragmented.

local bit = require("bit")
local ffi = require("ffi")

local band, rshift = bit.band, bit.rshift
local copy = ffi.copy
local char = string.char
local sub = string.sub

local BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8a -- FIN and the opcode
local LONGEST_CONTROL = 125

local _M = {
    --- Room that prepend_header() may need before the payload, in bytes.
    LONGEST_HEADER = 10,
}

--- Write the header of a whole binary message just before its payload.
-- @param payload pointer to bytes, with LONGEST_HEADER writable bytes before it
-- @param length payload bytes, below 2^32
-- @return the header's size: the frame begins that many bytes before `payload`
function _M.prepend_header(payload, length)
    if length < 126 then
        payload[-2] = BINARY
        payload[-1] = length
        return 2
    end
    payload[-2] = band(rshift(length, 8), 0xff)
    payload[-1] = band(length, 0xff)
    if length < 65536 then
        payload[-4] = BINARY
        payload[-3] = 126
        return 4
    end
    payload[-10] = BINARY
    payload[-9] = 127
    for at = -8, -5 do
        payload[at] = 0
    end
    payload[-4] = band(rshift(length, 24), 0xff)
    payload[-3] = band(rshift(length, 16), 0xff)
    return 10
end

--- An empty ping.
function _M.ping()
    return char(PING, 0)
end

--- Write at `target[at]` the pong that answers a ping of this payload (pointer and length, at most 125 bytes).
-- @return the index after it
function _M.append_pong(target, at, payload, length)
    target[at] = PONG
    target[at + 1] = length
    copy(target + at + 2, payload, length)
    return at + 2 + length
end

--- A close frame. Without a code it is empty. A `reason` too long is cut, so it should be ASCII unless it came from a
-- frame.
function _M.close(code, reason)
    if not code then
        return char(CLOSE, 0)
    end
    reason = sub(reason or "", 1, LONGEST_CONTROL - 2)
    return char(CLOSE, #reason + 2, rshift(code, 8), band(code, 0xff)) .. reason
end

return _M
