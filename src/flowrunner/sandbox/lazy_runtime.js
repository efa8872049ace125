// The parts of the runtime that few scripts need. prelude.js passes the original built-ins.
(function (mostLines, mostText, kept) {
  'use strict';
  const {stringify, defineProperty, String, Error, apply, then, slice} = kept;
  const longestLine = 10_000, longestMessage = 2_000;
  let lines = '', before = '', count = 0, isCut = false, settled = null, hasDrawn = false, replace;

  // The worker cannot read ropes, in which the engine stores longer concatenated texts.
  const whole = (text) => typeof text === 'string' ? apply(slice, text, [0]) : text;

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
      if (isCut || count >= mostLines) return cut();
      let line = '';
      for (let i = 0; i < values.length; i++) line += (i ? ' ' : '') + shown(values[i]);
      // Lines are never truncated: redaction would not find part of a secret, which is still secret.
      if (line.length > longestLine) line = `a text of ${line.length} characters`;
      const entry = `${count ? ',' : ''}["${level}",${stringify(line)}]`;
      if (lines.length + entry.length > mostText) return cut();
      before = lines;
      lines += entry;
      count++;
    };
  }

  // Says so once for all scripts of a node, in place of the last line if this script has one: what is dropped without a
  // word is searched for in vain. After that, the other scripts have less than no room.
  function cut() {
    if (isCut || mostLines < 0) return;
    isCut = true;
    lines = `${before}${count > 1 ? ',' : ''}["warn","Log truncated: 1000 lines and 1 MB of them are kept of the scripts of a node"]`;
  }

  function fault(error, kind) {
    let message = 'Error: what was thrown cannot be shown', stack = '';
    try {
      const found = typeof error === 'object' && error !== null ? error.stack : '';
      if (typeof found === 'string') stack = found;
      const text = shown(error);
      if (typeof text === 'string') message = text;
    } catch {}
    if (message.length > longestMessage) message = `Error: a message of ${message.length} characters`;
    // Only the place at its start is used.
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

  // Converts `Map` and `Set`, which JSON lacks, to the lists from which they can be created.
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
        // An object that only has the prototype.
        return value;
      }
      return list;
    };
  }

  // The engine silently ignores locales and time zones, so they are rejected.
  function rejectLocales() {
    const of = (name) => globalThis[name].prototype;
    const date = 'write toISOString(), or put the text together from getUTCFullYear(), getUTCMonth() and the like';
    const number = 'write toFixed(2), or replace() to group digits';
    for (const name of ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString']) reject(of('Date'), name, 0, date);
    for (const name of ['Number', 'BigInt']) reject(of(name), 'toLocaleString', 0, number);
    reject(of('Array'), 'toLocaleString', 0, 'write map() and join()');
    reject(of('String'), 'localeCompare', 1, 'leave them out, and texts are compared by the numbers of their characters');
    for (const name of ['toLocaleUpperCase', 'toLocaleLowerCase']) reject(of('String'), name, 0, 'leave it out');
  }

  function reject(prototype, name, taken, instead) {
    const real = prototype[name], {TypeError} = globalThis, {captureStackTrace} = Error;
    const {[name]: method} = {
      [name](...given) {
        for (let i = taken; i < given.length; i++) {
          if (given[i] === undefined) continue;
          const error = new TypeError(`${name} knows neither locales nor time zones here: ${instead}`);
          // Report the place of the call.
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

  // Whether a value depends on chance cannot be told from it, or from the text of the script.
  function noticeDraws() {
    const {Math} = globalThis, {random} = Math;
    const noticed = {random() { hasDrawn = true; return random(); }};
    defineProperty(Math, 'random', {value: noticed.random, writable: true, configurable: true});
  }

  return {
    fault,
    // Called before a script that needs this runtime; returns the replacer for JSON. `now`: the time in ms, or
    // an empty text for the real time.
    prepare(now) {
      rejectLocales();
      if (now !== '') {
        stopClock(+now);
        noticeDraws();
      }
      return replace = listing();
    },
    whole,
    // Gets or sets the property `console`.
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
    report(query, source) {
      switch (query) {
        case 'settled': return whole(settled);
        case 'drawn': return hasDrawn;
        case 'count': return isCut ? mostLines + 1 : count;
        case 'lines': return whole(lines);
        case 'check':
          // The source starts by throwing 0, so no other code of it runs.
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
