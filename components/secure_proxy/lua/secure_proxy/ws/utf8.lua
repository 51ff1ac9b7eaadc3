--- Incremental check that a text message is UTF-8 (RFC 6455, section 8.1; RFC 3629, section 4).
--
-- A state is a number that the caller keeps; START is that between two characters. It is valid between any two bytes,
-- so a character may be cut anywhere.

local ffi = require("ffi")
local bit = require("bit")

local band = bit.band
local cast = ffi.cast
local const_words = ffi.typeof("const uint64_t *")
local HIGH_BITS = 0x8080808080808080ULL

-- States, as rows of the table below: what the next byte may be. Overlong forms, surrogates and what lies beyond
-- U+10FFFF are refused at the second byte, by the four rows that allow less than any continuation byte.
local START, ONE_MORE, TWO_MORE, THREE_MORE = 0, 1, 2, 3
local AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, REFUSED = 4, 5, 6, 7, 8

-- { state, first byte, last byte, next state }
local RULES = {
    { START, 0x00, 0x7f, START },
    { START, 0xc2, 0xdf, ONE_MORE },
    { START, 0xe0, 0xe0, AFTER_E0 },
    { START, 0xe1, 0xec, TWO_MORE },
    { START, 0xed, 0xed, AFTER_ED },
    { START, 0xee, 0xef, TWO_MORE },
    { START, 0xf0, 0xf0, AFTER_F0 },
    { START, 0xf1, 0xf3, THREE_MORE },
    { START, 0xf4, 0xf4, AFTER_F4 },
    { ONE_MORE, 0x80, 0xbf, START },
    { TWO_MORE, 0x80, 0xbf, ONE_MORE },
    { THREE_MORE, 0x80, 0xbf, TWO_MORE },
    { AFTER_E0, 0xa0, 0xbf, ONE_MORE },
    { AFTER_ED, 0x80, 0x9f, ONE_MORE },
    { AFTER_F0, 0x90, 0xbf, TWO_MORE },
    { AFTER_F4, 0x80, 0x8f, TWO_MORE },
}

-- transitions[state + byte] is the next state. States are kept as the offsets of their rows.
local transitions = ffi.new("uint16_t[?]", (REFUSED + 1) * 256, REFUSED * 256)
for _, rule in ipairs(RULES) do
    for byte = rule[2], rule[3] do
        transitions[rule[1] * 256 + byte] = rule[4] * 256
    end
end

local _M = {
    START = START,
    REFUSED = REFUSED * 256,
}

--- The state after `length` more bytes at `bytes`; REFUSED if no UTF-8 text can hold them.
function _M.check(state, bytes, length)
    local i = 0
    -- Eight bytes of ASCII at once, or else eight steps through the table.
    while i + 8 <= length do
        if state ~= START or band(cast(const_words, bytes + i)[0], HIGH_BITS) ~= 0ULL then
            state = transitions[state + bytes[i]]
            state = transitions[state + bytes[i + 1]]
            state = transitions[state + bytes[i + 2]]
            state = transitions[state + bytes[i + 3]]
            state = transitions[state + bytes[i + 4]]
            state = transitions[state + bytes[i + 5]]
            state = transitions[state + bytes[i + 6]]
            state = transitions[state + bytes[i + 7]]
        end
        i = i + 8
    end
    while i < length do
        state = transitions[state + bytes[i]]
        i = i + 1
    end
    return state
end

return _M
