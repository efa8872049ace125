// What few scripts need; see prelude.js, which gives it the built-ins as they were before the script.
(function (mostLines, kept) {
  'use strict';
  const {stringify, defineProperty, String, Error, apply, then, slice} = kept;
  const longestLine = 10_000, longestMessage = 2_000;
  let lines = '', count = 0, settled = null;

  // The worker cannot take what the engine has only strung together, as it does with longer texts.
  const whole = (said) => typeof said === 'string' ? apply(slice, said, [0]) : said;

  const console = {
    log: writes('info'), info: writes('info'), debug: writes('debug'), warn: writes('warn'), error: writes('error'),
  };

  function shown(value) {
    if (typeof value === 'string') return value;
    try {
      return (value instanceof Error ? undefined : stringify(value)) ?? String(value);
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
      return `"value":${stringify(value) ?? 'null'}`;
    } catch (error) {
      return fault(error, 'value');
    }
  }

  return {
    fault,
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
