// What few scripts need; see prelude.js, which gives it the built-ins as they were before the script.
(function (mostLines, kept) {
  'use strict';
  const {stringify, defineProperty, String, Error, apply, then, slice} = kept;
  const longestLine = 10_000, longestMessage = 2_000;
  let lines = '', count = 0, settled = null, replace;

  // The worker cannot take what the engine has only strung together, as it does with longer texts.
  const whole = (said) => typeof said === 'string' ? apply(slice, said, [0]) : said;

  const console = {
    log: writes('info'), info: writes('info'), debug: writes('debug'), warn: writes('warn'), error: writes('error'),
  };

  function shown(value) {
    if (typeof value === 'string') return value;
    try {
      return (value instanceof Error ? undefined : stringify(value, replace)) ?? String(value);
    } catch {
      return String(value);
    }
  }

  function writes(level) {
    return (...values) => {
      if (count >= mostLines) return;
      let line = '';
      for (let i = 0; i < values.length; i++) line += (i ? ' ' : '') + shown(values[i]);
      // Never a part: half of a secret is a secret too, and only whole ones are found and hidden later.
      if (line.length > longestLine) line = `a text of ${line.length} characters`;
      lines += `${count++ ? ',' : ''}["${level}",${stringify(line)}]`;
    };
  }

  function fault(error, kind) {
    let message = 'Error: what was thrown cannot be shown', stack = '';
    try {
      const found = typeof error === 'object' && error !== null ? error.stack : '';
      if (typeof found === 'string') stack = found;
      const said = shown(error);
      if (typeof said === 'string') message = said;
    } catch {}
    if (message.length > longestMessage) message = `Error: a message of ${message.length} characters`;
    // Only the place is taken from it, which stands at its beginning.
    if (stack.length > longestMessage) stack = '';
    return whole(`"fault":${stringify(message)},"kind":"${kind}","stack":${stringify(stack)}`);
  }

  function answer(value) {
    try {
      return `"value":${stringify(value, replace) ?? 'null'}`;
    } catch (error) {
      return fault(error, 'value');
    }
  }

  // Of `Map` and `Set`, which JSON does not have, the same is left as of what they are made from.
  function listing() {
    const {Map, Set} = globalThis, each = Map.prototype.forEach, eachOf = Set.prototype.forEach;
    return (key, value) => {
      if (typeof value !== 'object' || value === null) return value;
      const list = [];
      let size = 0;
      const put = (item) => defineProperty(list, size++, {value: item, writable: true, enumerable: true, configurable: true});
      try {
        if (value instanceof Map) apply(each, value, [(item, name) => { put([name, item]); }]);
        else if (value instanceof Set) apply(eachOf, value, [put]);
        else return value;
      } catch {
        // It only has the prototype.
        return value;
      }
      return list;
    };
  }

  // Locales and time zones are unknown to the engine, which takes them without a word and ignores them.
  function refuseLocales() {
    const of = (name) => globalThis[name].prototype;
    const date = 'write toISOString(), or put the text together from getUTCFullYear(), getUTCMonth() and the like';
    const number = 'write toFixed(2), or replace() to group digits';
    for (const name of ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString']) refuse(of('Date'), name, 0, date);
    for (const name of ['Number', 'BigInt']) refuse(of(name), 'toLocaleString', 0, number);
    refuse(of('Array'), 'toLocaleString', 0, 'write map() and join()');
    refuse(of('String'), 'localeCompare', 1, 'leave them out, and texts are compared by the numbers of their characters');
    for (const name of ['toLocaleUpperCase', 'toLocaleLowerCase']) refuse(of('String'), name, 0, 'leave it out');
  }

  function refuse(prototype, name, taken, instead) {
    const real = prototype[name], {TypeError} = globalThis, {captureStackTrace} = Error;
    const {[name]: method} = {
      [name](...given) {
        for (let i = taken; i < given.length; i++) {
          if (given[i] === undefined) continue;
          const error = new TypeError(`${name} knows neither locales nor time zones here: ${instead}`);
          // Its place is that of the call.
          captureStackTrace(error, method);
          throw error;
        }
        return apply(real, this, given);
      },
    };
    defineProperty(prototype, name, {value: method, writable: true, configurable: true});
  }

  function stopClock(now) {
    const {Date: Real, Reflect} = globalThis, {construct} = Reflect, {toString} = Real.prototype;
    const constant = (object, name, value) => defineProperty(object, name, {value, writable: true, configurable: true});
    function Stopped(...parts) {
      if (!new.target) return apply(toString, new Real(now), []);
      return construct(Real, parts.length ? parts : [now], new.target);
    }
    for (const name of ['UTC', 'parse']) constant(Stopped, name, Real[name]);
    constant(Stopped, 'now', {now: () => now}.now);
    defineProperty(Stopped, 'name', {value: 'Date', configurable: true});
    defineProperty(Stopped, 'length', {value: 7, configurable: true});
    defineProperty(Stopped, 'prototype', {value: Real.prototype, writable: false});
    constant(Real.prototype, 'constructor', Stopped);
    constant(globalThis, 'Date', Stopped);
  }

  return {
    fault,
    // Before a script that needs more than the engine has; gives what JSON is to make of values. `now`: the present in
    // milliseconds, or an empty text for the real one.
    prepare(now) {
      refuseLocales();
      if (now !== '') stopClock(+now);
      return replace = listing();
    },
    whole,
    // What the property `console` is, or becomes.
    console(value) {
      if (!value.length) return console;
      defineProperty(globalThis, 'console', {value: value[0], writable: true, configurable: true});
    },
    follow(promise) {
      apply(then, promise, [
        (value) => { settled = answer(value); },
        (error) => { settled = fault(error, 'error'); },
      ]);
      return null;
    },
    say(what, source) {
      switch (what) {
        case 'settled': return whole(settled);
        case 'count': return count;
        case 'lines': return whole(lines);
        case 'check':
          // The source begins by throwing 0, so that nothing else of it is run.
          try {
            (0, eval)(source);
          } catch (error) {
            return error === 0 ? null : fault(error, 'syntax');
          }
          return null;
      }
    },
  };
})
