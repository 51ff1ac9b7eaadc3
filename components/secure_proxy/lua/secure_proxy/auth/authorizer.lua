-- One exchange with the HTTP authorizer: a connection of its own, a GET, the head of the answer. Bounded in time and
-- size as a whole, certificate verified. An answer's body says nothing here, so it is never read.

local config = require("secure_proxy.config")
local deadlines = require("secure_proxy.deadline")

local ngx = ngx
local match = string.match

local _M = {}

local EXCHANGE_S = 5
local CONNECT_TIMEOUT_MS, SEND_TIMEOUT_MS, READ_TIMEOUT_MS = 2000, 2000, 3000
local MAX_HEAD_BYTES = 8192
local PORTS = { http = 80, https = 443 }
-- What the proxy goes by: twice in one answer, nobody could say which counts.
local SINGLE_FIELDS = { ["x-auth-subject"] = true, ["x-auth-expires"] = true, ["x-auth-reason"] = true }

-- @return { scheme, host, port, authority, path }; the boot configuration has checked the address's syntax
local function address_of(url)
    local scheme, authority, path = match(url, "^(https?)://([^/]+)(/?.*)$")
    local host, port = match(authority, "^(.-):(%d+)$")
    return {
        scheme = scheme,
        host = host or authority,
        port = tonumber(port) or PORTS[scheme],
        authority = authority,
        path = path == "" and "/" or path,
    }
end

local function request_text(address, credentials, client)
    return table.concat({
        "GET " .. address.path .. " HTTP/1.1",
        "Host: " .. address.authority,
        "Connection: close",
        "X-Forwarded-For: " .. client,
        credentials and "Authorization: " .. credentials .. "\r\n\r\n" or "\r\n",
    }, "\r\n")
end

local function read_head(socket)
    local head = ""
    while true do
        local chunk, err = socket:receiveany(MAX_HEAD_BYTES)
        if not chunk then
            return nil, "broke off: " .. err
        end
        head = head .. chunk
        local stop = head:find("\r\n\r\n", 1, true)
        if stop then
            return head:sub(1, stop + 1)
        end
        if #head > MAX_HEAD_BYTES then
            return nil, "answered with more than " .. MAX_HEAD_BYTES .. " bytes of header fields"
        end
    end
end

-- @return { status, fields = { lower-case name → value } } (RFC 9112, sections 4 and 5), or nil and the reason
local function parse(head)
    local status, rest = match(head, "^HTTP/1%.[01] ([2-5]%d%d)[^\r\n]*\r\n(.*)$")
    if not status then
        return nil, "did not answer in HTTP"
    end
    local fields = {}
    for line in rest:gmatch("([^\r\n]*)\r\n") do
        local name, value = match(line, "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.-)[ \t]*$")
        if not name then
            return nil, "sent an unreadable header field"
        end
        name = name:lower()
        if fields[name] and SINGLE_FIELDS[name] then
            return nil, "sent " .. name .. " twice"
        end
        fields[name] = value
    end
    return { status = tonumber(status), fields = fields }
end

local function encrypt(socket, name)
    local credentials = config.credentials.oidc
    if credentials then
        local ok, err = socket:setclientcert(credentials.chain, credentials.key)
        if not ok then
            return nil, err
        end
    end
    return socket:sslhandshake(nil, name, true)
end

local function exchange(address, text)
    local socket = ngx.socket.tcp()
    socket:settimeouts(CONNECT_TIMEOUT_MS, SEND_TIMEOUT_MS, READ_TIMEOUT_MS)
    local ok, err = socket:connect(address.host, address.port)
    if not ok then
        return nil, "cannot be reached: " .. err
    end
    if address.scheme == "https" then
        ok, err = encrypt(socket, address.host)
        if not ok then
            return nil, "cannot be trusted: " .. err
        end
    end
    ok, err = socket:send(text)
    if not ok then
        return nil, "takes no request: " .. err
    end
    local head
    head, err = read_head(socket)
    socket:close()
    if not head then
        return nil, err
    end
    return parse(head)
end

--- @param credentials what the Authorization header shall say, or nil for none
-- @param client the client's address, for the authorizer's log
-- @return { status = 200 to 599, fields = header fields under lower-case names }, or nil and the reason
function _M.ask(credentials, client)
    local address = address_of(config.authentication.authorizer_url)
    local answer, reason = deadlines.run(EXCHANGE_S, exchange, address, request_text(address, credentials, client))
    return answer, not answer and reason or nil
end

return _M
