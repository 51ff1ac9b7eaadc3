--- Incremental check that a text message is UTF-8 (RFC 6455, section 8.1; RFC 3629, section 4).
--
-- The state is a cdata struct with the fields `pending` (continuation bytes still to come), `lowest` and `highest`
-- (what the next of them may be). It is valid between any two bytes, so a character may be cut anywhere.

local ffi = require("ffi")
local bit = require("bit")

local band = bit.band
local cast = ffi.cast
local const_words = ffi.typeof("const uint64_t *")
local HIGH_BITS = 0x8080808080808080ULL

local _M = {}

--- Forget a character begun and not finished.
function _M.reset(state)
    state.pending = 0
    state.lowest = 0x80
    state.highest = 0xbf
end

--- Check the next `length` bytes at `bytes`.
-- @return true, or false at the first byte that no UTF-8 text can hold.
function _M.check(state, bytes, length)
    local i = 0
    local pending, lowest, highest = state.pending, state.lowest, state.highest
    while i < length do
        if pending == 0 and i + 8 <= length and band(cast(const_words, bytes + i)[0], HIGH_BITS) == 0ULL then
            i = i + 8
        else
            local byte = bytes[i]
            i = i + 1
            if pending > 0 then
                if byte < lowest or byte > highest then
                    return false
                end
                pending, lowest, highest = pending - 1, 0x80, 0xbf
            elseif byte >= 0x80 then
                -- 0xc0 and 0xc1 would spell ASCII in two bytes; the narrowed ranges refuse overlong forms, surrogates
                -- and what lies beyond U+10FFFF.
                if byte < 0xc2 or byte > 0xf4 then
                    return false
                elseif byte < 0xe0 then
                    pending = 1
                elseif byte < 0xf0 then
                    pending = 2
                    if byte == 0xe0 then
                        lowest = 0xa0
                    elseif byte == 0xed then
                        highest = 0x9f
                    end
                else
                    pending = 3
                    if byte == 0xf0 then
                        lowest = 0x90
                    elseif byte == 0xf4 then
                        highest = 0x8f
                    end
                end
            end
        end
    end
    state.pending, state.lowest, state.highest = pending, lowest, highest
    return true
end

--- True if no character is left unfinished.
function _M.complete(state)
    return state.pending == 0
end

return _M
