-- Fetches one small JSON document from an identity provider: bounded in time and size, certificate verified, redirects
-- not followed, because the configured issuer answers for itself or not at all.

local cjson = require("cjson.safe").new()
local config = require("secure_proxy.config")
local deadlines = require("secure_proxy.deadline")
local http = require("resty.http")

local ngx = ngx
local type = type

cjson.decode_invalid_numbers(false)

local _M = {}

local OPERATION_TIMEOUT_MS = 2000
local MAX_DOCUMENT_BYTES = 256 * 1024
local CHUNK_BYTES = 8192

local function read_body(response)
    local chunks, length = {}, 0
    while response.body_reader do
        local chunk, err = response.body_reader(CHUNK_BYTES)
        if err then
            return nil, err
        end
        if not chunk then
            break
        end
        length = length + #chunk
        if length > MAX_DOCUMENT_BYTES then
            return nil, "more than " .. MAX_DOCUMENT_BYTES .. " bytes"
        end
        chunks[#chunks + 1] = chunk
    end
    return table.concat(chunks)
end

local function exchange(client, address)
    local tls = address.scheme == "https"
    local credentials = config.credentials.oidc
    local ok, err = client:connect({
        scheme = address.scheme,
        host = address.host,
        port = address.port,
        ssl_verify = true,
        ssl_server_name = tls and address.host or nil,
        ssl_client_cert = tls and credentials and credentials.chain or nil,
        ssl_client_priv_key = tls and credentials and credentials.key or nil,
    })
    if not ok then
        return nil, err
    end
    local response
    response, err = client:request({ method = "GET", path = address.path, headers = { Accept = "application/json" } })
    if not response then
        return nil, err
    end
    if response.status ~= 200 then
        return nil, "status " .. response.status
    end
    return read_body(response)
end

--- @param url http:// or https://
-- @param deadline ngx.now() seconds at which the download is broken off, wherever it is
-- @return the decoded object or list, or nil and the reason
function _M.json(url, deadline)
    local client = http.new()
    client:set_timeouts(OPERATION_TIMEOUT_MS, OPERATION_TIMEOUT_MS, OPERATION_TIMEOUT_MS)
    local parts, err = client:parse_uri(url, true)
    if not parts then
        return nil, "unusable address: " .. err
    end
    local body
    local address = { scheme = parts[1], host = parts[2], port = parts[3], path = parts[4] }
    body, err = deadlines.run(deadline - ngx.now(), exchange, client, address)
    client:close()
    if not body then
        return nil, err
    end
    local document = cjson.decode(body)
    if type(document) ~= "table" then
        return nil, "not JSON"
    end
    return document
end

return _M
