// Runs each case after the other and prints one JSON object: the name of the case, and `{ok}` or `{error}`.
export async function each(cases) {
  const results = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      results[name] = { ok: (await run()) ?? null };
    } catch (error) {
      results[name] = { error: `${error.name}: ${error.responseBody ?? error.message}` };
    }
  }
  console.log(JSON.stringify(results));
}
