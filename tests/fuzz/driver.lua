--- Runs the decoder for tests/fuzz/decoder_process.py: one sequence of chunks in, what became of it out.
--
-- luajit driver.lua LUA_ROOT. Integers are little-endian. A request is its byte count and the number of its chunks (u32
-- each), the chunks' sizes (u32 each) and their bytes. The answer is: outcome (u8), close or failure code (u16), reason
-- (u8 and bytes), data (u32 and bytes), and the pings and pongs in order (u32 and bytes: opcode, length, payload each).
--
-- Each chunk is placed so that its last byte borders on a page without access, and so is the room for its output: one
-- byte read or written too far is the end of the process.

package.path = arg[1] .. "/?.lua;" .. package.path

local bit = require("bit")
local ffi = require("ffi")
local decoder = require("secure_proxy.ws.decoder")

ffi.cdef([[
void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset);
int mprotect(void *address, size_t length, int protection);
]])

local PAGE = 4096
local LARGEST = 1024 * PAGE
local PROT_NONE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS = 0, 3, 0x22
local OUTCOMES = { [decoder.MORE] = 0, [decoder.CLOSE] = 1, [decoder.FAILED] = 2 }

-- The address just behind LARGEST accessible bytes.
local function guarded()
    local base = ffi.cast("uint8_t *",
        ffi.C.mmap(nil, LARGEST + PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0))
    assert(ffi.C.mprotect(base + LARGEST, PAGE, PROT_NONE) == 0)
    return base + LARGEST
end

local input_end, output_end = guarded(), guarded()

local function number(bytes, at, size)
    local value = 0
    for i = size - 1, 0, -1 do
        value = value * 256 + bytes:byte(at + i)
    end
    return value
end

local function digits(value, size)
    local bytes = {}
    for i = 1, size do
        bytes[i] = string.char(value % 256)
        value = math.floor(value / 256)
    end
    return table.concat(bytes)
end

local function run(limits, chunks)
    local state = decoder.new(limits)
    local data, controls = {}, {}
    local event
    for _, chunk in ipairs(chunks) do
        local length = #chunk
        local input, output = input_end - length, output_end - length
        ffi.copy(input, chunk, length)
        local position, filled = 0, 0
        repeat
            event, position, filled = decoder.decode(state, input, position, length, output, filled)
            if event == decoder.PING or event == decoder.PONG then
                controls[#controls + 1] = string.char(event == decoder.PING and 9 or 10, state.control_length)
                    .. ffi.string(state.control, state.control_length)
            end
        until event ~= decoder.PING and event ~= decoder.PONG
        data[#data + 1] = ffi.string(output, filled)
        if event ~= decoder.MORE then
            break
        end
    end
    local code, reason = 0, ""
    if event == decoder.CLOSE then
        code, reason = decoder.close_reason(state)
    elseif event == decoder.FAILED then
        code, reason = decoder.failure(state)
    end
    local all, control = table.concat(data), table.concat(controls)
    return digits(OUTCOMES[event or decoder.MORE], 1) .. digits(code or 0, 2) .. digits(#reason, 1) .. reason
        .. digits(#all, 4) .. all .. digits(#control, 4) .. control
end

io.stdout:setvbuf("full", 1048576)
while true do
    local head = io.read(16)
    if not head then
        break
    end
    local total, count = number(head, 1, 4), number(head, 5, 4)
    local limits = { max_frame_size = number(head, 9, 4), max_message_size = number(head, 13, 4) }
    local sizes = count > 0 and io.read(4 * count) or ""
    local bytes = total > 0 and io.read(total) or ""
    local chunks, at = {}, 1
    for i = 1, count do
        local size = number(sizes, 4 * i - 3, 4)
        chunks[i] = bytes:sub(at, at + size - 1)
        at = at + size
    end
    assert(bit.band(at - 1 - total, 0xffffffff) == 0, "sizes do not add up")
    io.write(run(limits, chunks))
    io.flush()
end
