// Makes one fresh context ready for one script: gives the functions that the worker calls from outside.
//
// A script may change every built-in before it ends. So what is needed afterwards is kept here first, and nothing
// below relies on a prototype once a script has begun.
(function (mostLines, longestLine, longestMessage) {
  'use strict';
  const {parse, stringify} = JSON;
  const {defineProperty, keys} = Object;
  const {apply} = Reflect;
  const {then} = Promise.prototype;
  const evaluate = eval, text = String, Promised = Promise, scope = globalThis;
  let lines = '', count = 0, settled = null;

  function shown(value) {
    if (typeof value === 'string') return value;
    try {
      return (value instanceof Error ? undefined : stringify(value)) ?? text(value);
    } catch {
      return text(value);
    }
  }

  const console = {};
  for (const [name, level] of [['log', 'info'], ['info', 'info'], ['debug', 'debug'], ['warn', 'warn'], ['error', 'error']]) {
    const write = (...values) => {
      if (count >= mostLines) return;
      let line = '';
      for (let i = 0; i < values.length; i++) line += (i ? ' ' : '') + shown(values[i]);
      // Never a part: half of a secret is a secret too, and only whole ones are found and hidden later.
      if (line.length > longestLine) line = `a text of ${line.length} characters`;
      lines += `${count++ ? ',' : ''}["${level}",${stringify(line)}]`;
    };
    defineProperty(write, 'name', {value: name});
    console[name] = write;
  }
  defineProperty(scope, 'console', {value: console, writable: true, configurable: true});

  function fault(error, kind) {
    let message = 'Error: what was thrown cannot be shown', stack = '';
    try {
      message = shown(error);
      const found = typeof error === 'object' && error !== null ? error.stack : '';
      if (typeof found === 'string') stack = found;
    } catch {}
    if (typeof message !== 'string') message = 'Error';
    if (message.length > longestMessage) message = `Error: a message of ${message.length} characters`;
    if (stack.length > longestMessage) stack = '';
    return `"fault":${stringify(message)},"kind":"${kind}","stack":${stringify(stack)}`;
  }

  function answer(value) {
    try {
      return `"value":${stringify(value) ?? 'null'}`;
    } catch (error) {
      return fault(error, 'value');
    }
  }

  // Evaluates a source that is a function; gives members of a JSON object, or null while a promise is pending.
  function run(values, source) {
    const given = parse(values);
    for (const name of keys(given)) {
      defineProperty(scope, name, {value: given[name], writable: true, enumerable: true, configurable: true});
    }
    let script;
    try {
      script = evaluate(source);
    } catch (error) {
      return fault(error, 'syntax');
    }
    try {
      const value = script();
      if (!(value instanceof Promised)) return answer(value);
      apply(then, value, [
        (value) => { settled = answer(value); },
        (error) => { settled = fault(error, 'error'); },
      ]);
      return null;
    } catch (error) {
      return fault(error, 'error');
    }
  }

  // Parses a source that begins by throwing 0, so that nothing else of it is run.
  function check(source) {
    try {
      evaluate(source);
    } catch (error) {
      return error === 0 ? null : fault(error, 'syntax');
    }
    return null;
  }

  return (what, first, second) => {
    switch (what) {
      case 'run': return run(first, second);
      case 'settled': return settled;
      case 'count': return count;
      case 'lines': return lines;
      case 'check': return check(first);
    }
  };
})
