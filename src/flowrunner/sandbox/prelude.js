// Prepares one fresh context for one script, and returns the function that the worker calls.
//
// It is compiled for every script, so it is short: the parts that few scripts need are in `lazyRuntime`, which is
// compiled on demand. A script may change every built-in, so those that are needed afterwards are saved here first,
// and no code relies on a prototype once a script has started.
(lazyRuntime) => {
  'use strict';
  const scope = globalThis, evaluate = eval, Promised = Promise, {parse, stringify} = JSON, {defineProperty, keys} = Object;
  const kept = {stringify, defineProperty, String, Error, apply: Reflect.apply, then: Promised.prototype.then, slice: ''.slice};
  let runtime, mostLines, mostText;
  const loaded = () => runtime ??= evaluate(lazyRuntime)(mostLines, mostText, kept);
  const access = (...value) => loaded().console(value);
  // It would expose this function.
  delete Error.prepareStackTrace;
  defineProperty(scope, 'console', {get: access, set: access, configurable: true});

  // Without a query, evaluates a source that is a function; returns members of a JSON object, or null while a promise
  // is pending. For `now` see `prepare`; null prepares nothing.
  return (query, values, source, lines, text, now) => {
    if (query) return runtime || query === 'check' ? loaded().report(query, values) : 0;
    mostLines = lines;
    mostText = text;
    const given = parse(values);
    for (const name of keys(given)) {
      defineProperty(scope, name, {value: given[name], writable: true, enumerable: true, configurable: true});
    }
    let kind = 'syntax', value;
    const replace = now == null ? undefined : loaded().prepare(now);
    try {
      const script = evaluate(source);
      kind = 'error';
      value = script();
      if (value instanceof Promised) return loaded().follow(value);
      kind = 'value';
      value = `"value":${stringify(value, replace) ?? 'null'}`;
    } catch (error) {
      return loaded().fault(error, kind);
    }
    return value.length > 500 ? loaded().whole(value) : value;
  };
}
