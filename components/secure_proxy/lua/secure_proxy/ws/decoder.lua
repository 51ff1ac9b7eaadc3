--- A streaming decoder for what a WebSocket client sends (RFC 6455, section 5). No sockets, no NGINX.
--
-- Payload is unmasked into the caller's buffer as it arrives, however long its frame is: a frame is never collected,
-- and text, binary and continuation frames alike become bytes in order. Only a control frame's payload (125 bytes at
-- most) is kept, until it is whole.
--
--     local decoder = decoder_module.new({ max_frame_size = 0, max_message_size = 0 })
--     local position, filled = 0, 0
--     repeat
--       event, position, filled = decoder_module.decode(decoder, input, position, length, output, filled)
--       ...                                      -- act on PING, PONG; stop at CLOSE and FAILED
--     until event == MORE
--
-- `output` must have room for `length` bytes: unmasked data are never longer than the frames that carried them.

local ffi = require("ffi")
local bit = require("bit")
local close_codes = require("secure_proxy.ws.close_codes")
local mask = require("secure_proxy.ws.mask")
local utf8 = require("secure_proxy.ws.utf8")

local band, bor, lshift = bit.band, bit.bor, bit.lshift
local ffi_string = ffi.string
local unmask = mask.apply
local check_utf8 = utf8.check
local UTF8_START, UTF8_REFUSED = utf8.START, utf8.REFUSED

local _M = {
    -- Events of decode().
    MORE = 0, -- everything given was used
    PING = 1, -- a whole ping: its payload is the state's `control` and `control_length`
    PONG = 2, -- a whole pong
    CLOSE = 3, -- a whole, valid close frame: close_reason(); nothing after it is read
    FAILED = 4, -- the client broke the protocol or a limit: failure(); nothing after it is read
}
local MORE, PING, PONG, CLOSE, FAILED = _M.MORE, _M.PING, _M.PONG, _M.CLOSE, _M.FAILED

local TEXT, BINARY = 1, 2 -- opcodes, RFC 6455 section 5.2; continuation is 0
local OP_CLOSE, OP_PING, OP_PONG = 8, 9, 10

-- Beyond this a Lua number no longer counts single bytes (and no client will live to send so long a frame).
local LONGEST_FRAME = 2 ^ 53

-- One fixed-size record for a session: cheaper than a table, and compiled code reads and writes it without lookups.
local state_type = ffi.typeof [[
    struct {
        double   remaining;          /* payload bytes of the current frame still to come */
        double   message_size;       /* payload bytes of the current message so far */
        double   max_frame_size;     /* 0: no limit */
        double   max_message_size;   /* 0: no limit */
        double   frames;             /* frames begun, control frames included */
        int32_t  key;                /* masking key, turned to the next byte */
        int32_t  failure_code;
        int32_t  text;               /* state of ws/utf8.lua in a text message */
        uint8_t  opcode;             /* of the current frame */
        uint8_t  message;            /* opcode of the message in progress, 0 if none */
        uint8_t  final;              /* FIN of the current frame */
        uint8_t  in_payload;
        uint8_t  ended;              /* a close frame or a failure was seen */
        uint8_t  failure;            /* index into REASONS */
        uint8_t  header_length;
        uint8_t  header[14];         /* a header that arrived in pieces */
        uint8_t  control_length;
        uint8_t  control[125];
    }
]]

local REASONS = {
    "reserved bits set",
    "reserved opcode",
    "fragmented control frame",
    "control frame too long",
    "frame not masked",
    "continuation without a message",
    "new message inside a message",
    "length not in its shortest form",
    "length out of range",
    "frame too large",
    "message too large",
    "text is not UTF-8",
    "close frame of one byte",
    "close code not allowed",
    "close reason is not UTF-8",
}
local RESERVED_BITS, RESERVED_OPCODE, FRAGMENTED_CONTROL, LONG_CONTROL, NOT_MASKED = 1, 2, 3, 4, 5
local NO_MESSAGE, IN_MESSAGE, NOT_SHORTEST, OUT_OF_RANGE = 6, 7, 8, 9
local FRAME_TOO_LARGE, MESSAGE_TOO_LARGE, BAD_TEXT = 10, 11, 12
local SHORT_CLOSE, BAD_CODE, BAD_REASON = 13, 14, 15

local PROTOCOL_ERROR, INVALID_PAYLOAD, TOO_LARGE =
    close_codes.PROTOCOL_ERROR, close_codes.INVALID_PAYLOAD, close_codes.TOO_LARGE

--- A decoder at the start of a stream.
-- @param limits table with `max_frame_size` and `max_message_size` in payload bytes; nil or 0 is no limit.
function _M.new(limits)
    local state = state_type()
    state.max_frame_size = limits and limits.max_frame_size or 0
    state.max_message_size = limits and limits.max_message_size or 0
    state.text = UTF8_START
    return state
end

local function fail(state, code, reason)
    state.ended = 1
    state.failure_code = code
    state.failure = reason
    return FAILED
end

-- Check the first two bytes of a header. Returns nil if they may stand, else FAILED.
local function check_start(state, first, second)
    local opcode = band(first, 0x0f)
    if band(first, 0x70) ~= 0 then
        return fail(state, PROTOCOL_ERROR, RESERVED_BITS) -- no extension is negotiated
    elseif opcode > OP_PONG or (opcode > BINARY and opcode < OP_CLOSE) then
        return fail(state, PROTOCOL_ERROR, RESERVED_OPCODE)
    elseif band(second, 0x80) == 0 then
        return fail(state, PROTOCOL_ERROR, NOT_MASKED)
    elseif opcode >= OP_CLOSE then
        if band(first, 0x80) == 0 then
            return fail(state, PROTOCOL_ERROR, FRAGMENTED_CONTROL)
        elseif band(second, 0x7f) > 125 then
            return fail(state, PROTOCOL_ERROR, LONG_CONTROL)
        end
    elseif opcode == 0 then
        if state.message == 0 then
            return fail(state, PROTOCOL_ERROR, NO_MESSAGE)
        end
    elseif state.message ~= 0 then
        return fail(state, PROTOCOL_ERROR, IN_MESSAGE)
    end
    return nil
end

-- Bytes of a client's header, by its second byte.
local function header_size(second)
    local short = band(second, 0x7f)
    if short < 126 then
        return 6
    end
    return short == 126 and 8 or 14
end

local function word(bytes, at)
    return bytes[at] * 16777216 + bytes[at + 1] * 65536 + bytes[at + 2] * 256 + bytes[at + 3]
end

-- Take a whole header whose start has been checked. Returns nil, or FAILED.
local function begin_frame(state, bytes)
    local first = bytes[0]
    local opcode = band(first, 0x0f)
    local length = band(bytes[1], 0x7f)
    local at = 2
    if length == 126 then
        length = bytes[2] * 256 + bytes[3]
        at = 4
        if length < 126 then
            return fail(state, PROTOCOL_ERROR, NOT_SHORTEST)
        end
    elseif length == 127 then
        if bytes[2] >= 0x80 then
            return fail(state, PROTOCOL_ERROR, OUT_OF_RANGE)
        end
        length = word(bytes, 2) * 4294967296 + word(bytes, 6)
        at = 10
        if length < 65536 then
            return fail(state, PROTOCOL_ERROR, NOT_SHORTEST)
        elseif length >= LONGEST_FRAME then
            return fail(state, TOO_LARGE, FRAME_TOO_LARGE)
        end
    end
    state.key = bor(bytes[at], lshift(bytes[at + 1], 8), lshift(bytes[at + 2], 16), lshift(bytes[at + 3], 24))
    state.remaining = length
    state.opcode = opcode
    state.final = band(first, 0x80)
    state.in_payload = 1
    state.frames = state.frames + 1
    if opcode >= OP_CLOSE then
        state.control_length = 0
        return nil
    end
    if opcode ~= 0 then
        state.message = opcode
        state.message_size = 0
    end
    local size = state.message_size + length
    state.message_size = size
    if state.max_frame_size > 0 and length > state.max_frame_size then
        return fail(state, TOO_LARGE, FRAME_TOO_LARGE)
    elseif state.max_message_size > 0 and size > state.max_message_size then
        return fail(state, TOO_LARGE, MESSAGE_TOO_LARGE)
    end
    return nil
end

local function end_close(state)
    local length = state.control_length
    state.ended = 1
    if length == 0 then
        return CLOSE
    elseif length == 1 then
        return fail(state, PROTOCOL_ERROR, SHORT_CLOSE)
    elseif not close_codes.may_be_sent(state.control[0] * 256 + state.control[1]) then
        return fail(state, PROTOCOL_ERROR, BAD_CODE)
    end
    if check_utf8(UTF8_START, state.control + 2, length - 2) ~= UTF8_START then
        return fail(state, INVALID_PAYLOAD, BAD_REASON)
    end
    return CLOSE
end

-- The current frame's last byte is in. Returns nil, or the event.
local function end_frame(state)
    state.in_payload = 0
    local opcode = state.opcode
    if opcode == OP_PING then
        return PING
    elseif opcode == OP_PONG then
        return PONG
    elseif opcode == OP_CLOSE then
        return end_close(state)
    elseif state.final ~= 0 then
        if state.text ~= UTF8_START then
            return fail(state, INVALID_PAYLOAD, BAD_TEXT)
        end
        state.message = 0
    end
    return nil
end

-- Find the next whole header. Returns the pointer to it and the position after it; nil if the input ended first; false
-- if it broke the protocol, which is told from the first byte that shows it.
local function next_header(state, input, position, length)
    local have = state.header_length
    if have == 0 and length - position >= 14 then
        local header = input + position
        if check_start(state, header[0], header[1]) then
            return false, position
        end
        return header, position + header_size(header[1])
    end
    local header = state.header
    while position < length do
        header[have] = input[position]
        have = have + 1
        position = position + 1
        state.header_length = have
        if have == 2 then
            if check_start(state, header[0], header[1]) then
                return false, position
            end
        elseif have > 2 and have == header_size(header[1]) then
            state.header_length = 0
            return header, position
        end
    end
    return nil, position
end

--- Decode from `input[position]` up to `input[length]`, appending unmasked data at `output[filled]`.
-- Data that arrived before an event are in `output` when the event is returned.
-- @return event (MORE, PING, PONG, CLOSE or FAILED), new position, new filled.
function _M.decode(state, input, position, length, output, filled)
    while state.ended == 0 do
        if state.in_payload == 0 then
            local header
            header, position = next_header(state, input, position, length)
            if not header then
                break -- out of input, or failed and therefore ended
            elseif begin_frame(state, header) then
                return FAILED, position, filled
            end
        end

        local take = length - position
        if take > state.remaining then
            take = state.remaining
        end
        if take > 0 then
            if state.opcode >= OP_CLOSE then
                local have = state.control_length
                state.key = unmask(state.control + have, input + position, take, state.key)
                state.control_length = have + take
            else
                local target = output + filled
                state.key = unmask(target, input + position, take, state.key)
                if state.message == TEXT then
                    state.text = check_utf8(state.text, target, take)
                    if state.text == UTF8_REFUSED then
                        return fail(state, INVALID_PAYLOAD, BAD_TEXT), position, filled
                    end
                end
                filled = filled + take
            end
            position = position + take
            state.remaining = state.remaining - take
        end

        if state.remaining > 0 then
            break
        end
        local event = end_frame(state)
        if event then
            return event, position, filled
        end
    end
    if state.failure ~= 0 then
        return FAILED, position, filled
    elseif state.ended ~= 0 then
        return CLOSE, position, filled
    end
    return MORE, position, filled
end

--- Code and reason of the client's close frame; the code is nil if the frame was empty (RFC 6455, section 7.1.5).
function _M.close_reason(state)
    if state.control_length < 2 then
        return nil, ""
    end
    return state.control[0] * 256 + state.control[1], ffi_string(state.control + 2, state.control_length - 2)
end

--- Close code and short English reason of a FAILED.
function _M.failure(state)
    return state.failure_code, REASONS[state.failure]
end

return _M
