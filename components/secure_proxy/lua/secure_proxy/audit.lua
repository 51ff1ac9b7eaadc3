-- The audit log: one JSON record a line (schema: docs/security.md). Written with one append each, as NGINX writes its
-- own access log: the page cache takes it at once, and records of several workers don't mix. Not with Lua's own files,
-- which write what is left of a record when the system took a part of it.

local bit = require("bit")
local cjson = require("cjson.safe").new()
local config = require("secure_proxy.config")
local ffi = require("ffi")

local ngx = ngx
local C = ffi.C

ffi.cdef([[
int secure_proxy_audit_open(const char *path, int flags, int mode) __asm__("open");
long secure_proxy_audit_write(int fd, const char *text, size_t length) __asm__("write");
int secure_proxy_audit_close(int fd) __asm__("close");
char *secure_proxy_audit_error(int number) __asm__("strerror");
]])

local _M = {}

-- The file is opened again after this long, so that a rotation is followed without a signal.
local REOPEN_S = 1
-- The one that is open serves for this long when that fails: while logs are rotated, there is none for a moment.
local KEEP_S = 5
-- O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC of Linux (open(2)).
local FLAGS = bit.bor(0x1, 0x40, 0x400, 0x80000)
local MODE = 416 -- octal 640
-- In the dictionary that the workers share: the log ends within a line, because the disk took a part of a record.
local CUT = "cut"

local file
local opened_at = 0
-- Why the last record could not be written, or nil. The next one is the test whether it can be again.
local failure

local function system_error()
    return ffi.string(C.secure_proxy_audit_error(ffi.errno()))
end

local function current_file()
    local now = ngx.now()
    if not file or now - opened_at > REOPEN_S then
        local fresh = C.secure_proxy_audit_open(config.audit_log, FLAGS, MODE)
        if fresh < 0 and file and now - opened_at <= KEEP_S then
            return file
        end
        local reason = fresh < 0 and system_error() or nil
        if file then
            C.secure_proxy_audit_close(file)
        end
        file = not reason and fresh or nil
        opened_at = now
        return file, reason
    end
    return file
end

-- In one piece: in several, another worker's record could come between them.
local function append(line)
    local fd, err = current_file()
    if not fd then
        return nil, err
    end
    local shared = ngx.shared.audit
    local cut = shared:get(CUT)
    if cut then
        line = "\n" .. line
    end
    local written = C.secure_proxy_audit_write(fd, line, #line)
    if written < 0 then
        return nil, system_error()
    end
    if written < #line then
        shared:set(CUT, true)
        return nil, "no space left but for a part of it"
    end
    if cut then
        shared:delete(CUT)
    end
    return true
end

local function timestamp()
    local now = ngx.now()
    return os.date("!%Y-%m-%dT%H:%M:%S", now) .. string.format(".%03dZ", (now % 1) * 1000)
end

--- Runs in init_by_lua: sees how the log ends before anybody writes. A reload finds the dictionary as it was.
function _M.look_at_end()
    local shared = ngx.shared.audit
    local log = shared:add("seen", true) and io.open(config.audit_log, "r")
    if not log then
        return
    end
    log:seek("end", -1)
    local last = log:read(1)
    log:close()
    if last and last ~= "\n" then
        shared:set(CUT, true)
    end
end

--- Whether records can be written, as far as one knows before writing one.
-- @return true, or nil and the reason
function _M.ready()
    local fd, err = current_file()
    if not fd or failure then
        return nil, err or failure
    end
    return true
end

--- What is known of the current request, for every record about it.
function _M.request()
    local var, identity, ctx = ngx.var, ngx.ctx.identity or {}, ngx.ctx
    return {
        id = ctx.session_id or var.request_id,
        client = var.remote_addr,
        client_port = tonumber(var.remote_port),
        listener = var.listener,
        route = ctx.route and ctx.route.path or nil,
        subject = identity.subject,
        issuer = identity.issuer,
        client_certificate = identity.certificate,
    }
end

--- Writes a record; `time` and `event` are added to the fields. A failure is logged and does not raise.
-- @return true when the record is in the log
function _M.write(event, fields)
    fields.time = timestamp()
    fields.event = event
    local text, ok, err
    text, err = cjson.encode(fields)
    if text then
        ok, err = append(text .. "\n")
        failure = err
    end
    if not ok then
        ngx.log(ngx.ALERT, "audit record '", event, "' is lost: ", err)
    end
    return ok
end

return _M
