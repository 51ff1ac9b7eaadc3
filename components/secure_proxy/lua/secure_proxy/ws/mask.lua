--- Masking of WebSocket payloads (RFC 6455, section 5.3).
--
-- Every byte a client sends passes through here, so the work is done on machine words: eight bytes an operation, four
-- operations a turn. Nothing is allocated.

local ffi = require("ffi")
local bit = require("bit")

local band, bxor, ror = bit.band, bit.bxor, bit.ror
local cast = ffi.cast

local const_bytes = ffi.typeof("const uint8_t *")
local const_words = ffi.typeof("const uint64_t *")
local words = ffi.typeof("uint64_t *")

local _M = {}

--- Unmask `length` bytes from `source` to `target`; the two must not overlap.
-- @param key the masking key as a 32-bit integer read in the machine's (little-endian) order, turned so that its lowest
--   byte belongs to the first byte of `source`.
-- @return the key, turned for the byte after the last.
function _M.apply(target, source, length, key)
    local done = 0
    if length >= 8 then
        -- The product repeats the key, without its sign, in both halves of the word.
        local wide = 0x100000001ULL * (key % 0x100000000)
        local to = cast(words, target)
        local from = cast(const_words, source)
        local count = (length - length % 8) / 8
        local i = 0
        while i + 4 <= count do
            to[i] = bxor(from[i], wide)
            to[i + 1] = bxor(from[i + 1], wide)
            to[i + 2] = bxor(from[i + 2], wide)
            to[i + 3] = bxor(from[i + 3], wide)
            i = i + 4
        end
        while i < count do
            to[i] = bxor(from[i], wide)
            i = i + 1
        end
        done = count * 8
    end
    source = cast(const_bytes, source)
    while done < length do
        target[done] = band(bxor(source[done], key), 0xff)
        key = ror(key, 8)
        done = done + 1
    end
    return key
end

return _M
