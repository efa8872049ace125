-- Logins with a wrong password, so many a second, each for a name of its own.
--
--   wrk -t1 -c50 -s failing_logins.lua URL -- DELAY_MS

local delay_ms, count = 0, 0

function init(args)
  delay_ms = tonumber(args[1])
  wrk.method, wrk.path = "POST", "/api/v1/auth/login"
  wrk.headers["Content-Type"] = "application/json"
end

function delay()
  -- Not all at once.
  return delay_ms * (0.5 + math.random())
end

function request()
  count = count + 1
  return wrk.format(nil, nil, nil, string.format('{"username":"nobody-%d@example.com","password":"a-wrong-guess-%d"}', count, count))
end

function done(summary, latency, requests)
  io.write(string.format('{"seconds":%.6f,"requests":%d}\n', summary.duration / 1e6, summary.requests))
end
