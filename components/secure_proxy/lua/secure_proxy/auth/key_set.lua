-- From a JSON Web Key Set (RFC 7517) to the keys that tokens may be signed with here: each under its key id, as PEM
-- text, with the algorithms that it is good for.

local cjson = require("cjson.safe").new()
local ffi = require("ffi")
local pkey = require("resty.openssl.pkey")

local type = type

ffi.cdef([[void secure_proxy_forget_key_errors(void) __asm__("ERR_clear_error");]])

local _M = {}

local MAX_KEYS = 64
local MIN_RSA_BITS = 2048
local RSA_ALGORITHMS = { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512" }
-- RFC 7518, section 3.4: each algorithm has its curve.
local CURVES = { ["P-256"] = "ES256", ["P-384"] = "ES384", ["P-521"] = "ES512" }

local function rsa_is_long_enough(key)
    local parameters = key:get_parameters()
    local modulus = parameters and parameters.n and parameters.n:to_binary()
    return modulus ~= nil and #modulus * 8 >= MIN_RSA_BITS
end

local function algorithms_of(jwk)
    local candidates
    if jwk.kty == "RSA" then
        candidates = RSA_ALGORITHMS
    elseif jwk.kty == "EC" and CURVES[jwk.crv] then
        candidates = { CURVES[jwk.crv] }
    else
        return {}
    end
    local allowed = {}
    for _, name in ipairs(candidates) do
        if jwk.alg == nil or jwk.alg == name then
            allowed[name] = true
        end
    end
    return allowed
end

local function usable(jwk)
    if type(jwk) ~= "table" or type(jwk.kid) ~= "string" or (jwk.use ~= nil and jwk.use ~= "sig") then
        return nil
    end
    local algorithms = algorithms_of(jwk)
    if next(algorithms) == nil then
        return nil
    end
    -- The public members alone: a key set that leaks private ones must not lend them to us.
    local public = { kty = jwk.kty, n = jwk.n, e = jwk.e, crv = jwk.crv, x = jwk.x, y = jwk.y }
    local key = pkey.new(cjson.encode(public), { format = "JWK" })
    if not key or (jwk.kty == "RSA" and not rsa_is_long_enough(key)) then
        return nil
    end
    local pem = key:to_PEM("public")
    return pem and { pem = pem, algorithms = algorithms }
end

--- @param set the decoded document
-- @return { kid → { pem, algorithms = { name → true } } }, or nil and the reason
function _M.read(set)
    if type(set.keys) ~= "table" then
        return nil, "key set has no keys"
    end
    if #set.keys > MAX_KEYS then
        return nil, "key set has more than " .. MAX_KEYS .. " keys"
    end
    local by_kid = {}
    for _, jwk in ipairs(set.keys) do
        local key = usable(jwk)
        if key and not by_kid[jwk.kid] then
            by_kid[jwk.kid] = key
        end
    end
    -- What OpenSSL noted about keys that it cannot use would be taken for a fault of some connection.
    ffi.C.secure_proxy_forget_key_errors()
    if next(by_kid) == nil then
        return nil, "key set has no usable signing key"
    end
    return by_kid
end

return _M
