-- Is this token signed by this key? lua-resty-openidc says it for the RS family, which is all that it knows; for PS and
-- ES OpenSSL is asked through lua-resty-openssl, with the hash, the padding and the signature's length fixed by the
-- algorithm's name (RFC 7518, sections 3.3 to 3.5). That a key fits the algorithm is secure_proxy.auth.key_set's work.

local ffi = require("ffi")
local openidc = require("resty.openidc")
local pkey = require("resty.openssl.pkey")

local ngx = ngx
local type = type

-- Its log lines carry tokens.
openidc.set_logging(function() end, { DEBUG = ngx.DEBUG, ERROR = ngx.ERR, WARN = ngx.WARN })

ffi.cdef([[void secure_proxy_forget_tls_errors(void) __asm__("ERR_clear_error");]])

local _M = {}

local HASHES = { ["256"] = "sha256", ["384"] = "sha384", ["512"] = "sha512" }
local EC_SIGNATURE_BYTES = { ES256 = 64, ES384 = 96, ES512 = 132 }
local EC_OPTIONS = { ecdsa_use_raw = true }
-- RFC 7518, section 3.5: the salt is as long as the hash (OpenSSL's RSA_PSS_SALTLEN_DIGEST).
local PSS_OPTIONS = { pss_saltlen = -1 }

-- The library's cache of verdicts stays unused: it cannot hold a token that is inside the clock skew after its expiry,
-- and secure_proxy.auth.openidc has one that knows nothing but signatures.
local function verify_rs(token, algorithm, pem)
    local claims, err = openidc.jwt_verify(token, {
        public_key = pem,
        token_signing_alg_values_expected = { algorithm },
        accept_none_alg = false,
        accept_unsupported_alg = false,
        jwt_verification_cache_ignore = true,
        -- Expiry is the rules' business, with each issuer's own skew.
        iat_slack = math.huge,
    })
    return type(claims) == "table" and not err
end

local function verify_ps_or_es(parsed, pem)
    local key = pkey.new(pem)
    if not key then
        return false
    end
    local algorithm = parsed.header.alg
    local hash = HASHES[algorithm:sub(3)]
    if algorithm:sub(1, 2) == "PS" then
        local padding = pkey.PADDINGS.RSA_PKCS1_PSS_PADDING
        return key:verify(parsed.signature, parsed.signed, hash, padding, PSS_OPTIONS) == true
    end
    if #parsed.signature ~= EC_SIGNATURE_BYTES[algorithm] then
        return false
    end
    return key:verify(parsed.signature, parsed.signed, hash, nil, EC_OPTIONS) == true
end

--- @param token the compact form, @param parsed what secure_proxy.auth.jwt.parse() made of it
-- @param pem the public key
-- @return true or false
function _M.is_valid(token, parsed, pem)
    local algorithm = parsed.header.alg
    local valid
    if algorithm:sub(1, 2) == "RS" then
        valid = verify_rs(token, algorithm, pem)
    else
        valid = verify_ps_or_es(parsed, pem)
    end
    -- OpenSSL's list of errors is the worker's, and NGINX would take what is left there for a fault of a connection.
    ffi.C.secure_proxy_forget_tls_errors()
    return valid
end

return _M
