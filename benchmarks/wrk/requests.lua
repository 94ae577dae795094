-- Repeats one request. Arguments: method, keys (comma-separated, used in turn), body.
-- "{n}" in the body is replaced by a different text in each request.
dofile("report.lua")

local prepared, number, prefix = {}, 0, nil

function init(args)
  wrk.method, wrk.body = args[1], args[3] ~= "" and args[3] or nil
  wrk.headers["Content-Type"] = wrk.body and "application/json"
  for key in args[2]:gmatch("[^,]+") do
    wrk.headers["X-API-KEY"] = key
    prepared[#prepared + 1] = wrk.format()
  end
  if wrk.body and wrk.body:find("{n}", 1, true) then
    local random = assert(io.open("/dev/urandom", "rb"))
    prefix = random:read(8):gsub(".", function(byte) return string.format("%02x", byte:byte()) end)
    random:close()
  end
end

function request()
  number = number + 1
  if prefix then
    return wrk.format(nil, nil, nil, (wrk.body:gsub("{n}", prefix .. "-" .. number)))
  end
  return prepared[number % #prepared + 1]
end
