// Makes one fresh context ready for one script: gives the function that the worker calls from outside.
//
// It is compiled for every script, so it is short: what few scripts need is the text `seldom`, compiled when it is
// needed. A script may change every built-in before it ends, so what is needed afterwards is kept here first, and
// nothing relies on a prototype once a script has begun.
(function (seldom) {
  'use strict';
  const scope = globalThis, evaluate = eval, {parse, stringify} = JSON, {defineProperty, keys} = Object;
  const text = String, Failure = Error, {apply} = Reflect, Promised = Promise, {then} = Promise.prototype;
  const {slice} = String.prototype;
  // The worker cannot take what the engine has only strung together, as it does with longer texts.
  const whole = (said) => typeof said === 'string' && said.length > 500 ? apply(slice, said, [0]) : said;
  let made = null, most = 0;
  const more = () => made ??= evaluate(seldom)(most, stringify, text, Failure, apply, then);

  defineProperty(scope, 'console', {
    get: () => more().console,
    set: (value) => { defineProperty(scope, 'console', {value, writable: true, configurable: true}); },
    configurable: true,
  });

  // Evaluates a source that is a function; gives members of a JSON object, or null while a promise is pending.
  return (what, values, source, mostLines) => {
    if (what !== 'run') return made || what === 'check' ? whole(more().say(what, values)) : 0;
    most = mostLines;
    const given = parse(values);
    for (const name of keys(given)) {
      defineProperty(scope, name, {value: given[name], writable: true, enumerable: true, configurable: true});
    }
    let kind = 'syntax';
    try {
      const script = evaluate(source);
      kind = 'error';
      const value = script();
      if (value instanceof Promised) return more().follow(value);
      kind = 'value';
      return whole(`"value":${stringify(value) ?? 'null'}`);
    } catch (error) {
      return whole(more().fault(error, kind));
    }
  };
})
