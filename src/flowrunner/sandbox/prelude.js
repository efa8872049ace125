// Makes one fresh context ready for one script: gives the function that the worker calls from outside.
//
// It is compiled for every script, so it is short: what few scripts need is the text `seldom`, compiled when it is
// needed. A script may change every built-in before it ends, so what is needed afterwards is kept here first, and
// nothing relies on a prototype once a script has begun.
(seldom) => {
  'use strict';
  const scope = globalThis, evaluate = eval, Promised = Promise, {parse, stringify} = JSON, {defineProperty, keys} = Object;
  const kept = {stringify, defineProperty, String, Error, apply: Reflect.apply, then: Promised.prototype.then, slice: ''.slice};
  let made, most;
  const more = () => made ??= evaluate(seldom)(most, kept);
  const access = (...value) => more().console(value);
  // It would hand out this function.
  delete Error.prepareStackTrace;
  defineProperty(scope, 'console', {get: access, set: access, configurable: true});

  // Evaluates a source that is a function, if nothing else is asked for; gives members of a JSON object, or null while
  // a promise is pending. For `now` see `prepare`; null prepares nothing.
  return (what, values, source, mostLines, now) => {
    if (what) return made || what === 'check' ? more().say(what, values) : 0;
    most = mostLines;
    const given = parse(values);
    for (const name of keys(given)) {
      defineProperty(scope, name, {value: given[name], writable: true, enumerable: true, configurable: true});
    }
    let kind = 'syntax', value;
    const replace = now == null ? undefined : more().prepare(now);
    try {
      const script = evaluate(source);
      kind = 'error';
      value = script();
      if (value instanceof Promised) return more().follow(value);
      kind = 'value';
      value = `"value":${stringify(value, replace) ?? 'null'}`;
    } catch (error) {
      return more().fault(error, kind);
    }
    return value.length > 500 ? more().whole(value) : value;
  };
}
