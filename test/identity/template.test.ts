import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { claimText } from '../../src/identity/claims.js';
import { compileTemplate } from '../../src/identity/template.js';
import { TemplateError } from '../../src/identity/template-lex.js';

const claims = {
  url: 'https://ci.example',
  ref: 'main',
  ref_type: 'branch',
  'ci.example/id': 'x-1',
  build: 17,
  big: 1e21,
  huge: 2 ** 53 + 2,
  half: 1.5,
  tiny: 0.00001,
  flag: false,
  empty: '',
  nothing: null,
  nested: { deep: { er: 'found' } },
  list: ['a'],
  größe: 'groß',
};
const render = (source: string) => compileTemplate(source).render((path) => claimText(claims, path));

describe('compileTemplate', () => {
  test.each([
    ['ref', 'main'],
    ['ci.example/id', 'x-1'],
    ['nothing', ''],
    ['build', '17'],
    ['big', '1000000000000000000000'],
    ['huge', '9007199254740994'],
    ['half', '1.5'],
    ['tiny', '1e-05'],
    ['flag', 'false'],
    ['{{.url}}/{{ .ref }}', 'https://ci.example/main'],
    ['{{ .größe }}', 'groß'],
    ['{{ .nested.deep.er }}', 'found'],
    ['{{index . "ci.example/id"}}', 'x-1'],
    ['{{(index . "ci.example/id")}}', 'x-1'],
    ['{{index . "nested" "deep" "er"}}', 'found'],
    ['[{{index . "missing"}}{{index . "nothing"}}]', '[]'],
    ['refs/{{if eq .ref_type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}', 'refs/heads/main'],
    ['{{if eq (index . "flag") "true"}}yes{{ else }}""{{end}}', '""'],
    ['{{if eq .ref "a" "b" "main"}}one of them{{end}}', 'one of them'],
    ['{{if ne .ref "main"}}a{{else if .empty}}b{{else if not .empty}}c{{else}}d{{end}}', 'c'],
    ['{{if and .ref (or .empty .url)}}both{{end}}', 'both'],
    ['{{or .ref .missing}}', 'main'],
    ['{{if .ref}}{{if .empty}}x{{else}}y{{end}}z{{end}}', 'yz'],
    ['{{if false_}}', undefined],
    ['a {{- .ref -}} b', 'amainb'],
    ['a {{- /* why */ -}} b', 'ab'],
    ['{{/* why */}}b', 'b'],
    ['{{"}}"}}{{`{{`}}', '}}{{'],
    ['{{"end"}}{{"if"}}', 'endif'],
    ['{{"\\u00e9\\n"}}', 'é\n'],
    ['{{.ref}} }} is text', 'main }} is text'],
  ])('%s', (source, expected) => {
    if (expected === undefined) expect(() => render(source)).toThrow(TemplateError);
    else expect(render(source)).toBe(expected);
  });

  test.each([
    ['missing', 'CLAIM_MISSING', 'no claim "missing" and the configuration has no default'],
    ['{{ .missing }}', 'CLAIM_MISSING', 'no claim "missing", which the template "{{ .missing }}" needs'],
    ['{{ .nothing }}', 'CLAIM_MISSING', 'no claim "nothing"'],
    ['{{ .nested.no }}', 'CLAIM_MISSING', 'no claim "nested.no"'],
    ['{{if eq .missing "a"}}b{{end}}', 'CLAIM_MISSING', 'no claim "missing"'],
    ['constructor', 'CLAIM_MISSING', 'no claim "constructor"'],
    ['{{ .__proto__ }}', 'CLAIM_MISSING', 'no claim "__proto__"'],
    ['list', 'CLAIM_INVALID', 'claim "list" is an array'],
    ['{{ .nested }}', 'CLAIM_INVALID', 'claim "nested" is an object'],
  ])('fails the request: %s', (source, code, detail) => {
    const error = failure(() => render(source));
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject({ code, detail: expect.stringContaining(detail) });
  });

  test.each([
    ['{{ .a', 0, '{{ is never closed'],
    ['x{{ .a | upper }}', 7, 'unexpected "|"'],
    ['{{ range .a }}{{end}}', 3, '"range" is not supported'],
    ['{{ printf "%s" .a }}', 3, '"printf" is not supported'],
    ['{{ template "x" }}', 3, '"template" is not supported'],
    ['{{ $x := .a }}', 3, 'unexpected "$"'],
    ['{{ . }}', 3, 'expected a field'],
    ['{{ eq . "a" }}', 3, '"." alone is not a value'],
    ['{{ eq .a }}', 3, 'eq has 1 arguments; expected at least 2'],
    ['{{ eq .a 1 }}', 9, 'unexpected "1"'],
    ['{{ index .a "b" }}', 3, 'index is supported only as'],
    ['{{ index . .b }}', 3, 'index is supported only as'],
    ['{{ .a "b" }}', 6, 'expected }}'],
    ['{{ (.a }}', 7, 'expected )'],
    ['{{if .a}}b', 10, 'expected {{end}}'],
    ['{{end}}', 0, '{{end}} without an open {{if}}'],
    ['{{if .a}}{{else}}{{else}}{{end}}', 19, 'a second {{else}}'],
    ['{{}}', 2, 'expected a field'],
    ['{{ "\\x41" }}', 3, 'escape that is not supported'],
    ['{{ "a }}', 3, 'unexpected "\\""'],
    [`${'{{if .a}}'.repeat(20)}${'{{end}}'.repeat(20)}`, 153, 'nested more than'],
    [`{{${'('.repeat(20)}.a${')'.repeat(20)}}}`, 19, 'nested more than'],
  ])('is refused at load with its position: %s', (source, position, message) => {
    const error = failure(() => compileTemplate(source));
    expect(error).toBeInstanceOf(TemplateError);
    expect(error).toMatchObject({ position, message: expect.stringContaining(message) });
  });

  test('any text compiles or is refused, and what compiles renders or names a claim', () => {
    const part = fc.constantFrom(
      '{{',
      '}}',
      '{{- ',
      ' -}}',
      '.a',
      '.',
      'if ',
      'else',
      'end',
      'eq ',
      'index ',
      '"x"',
      '(',
      ')',
      ' ',
      '`',
      '/*',
      '*/',
      'text',
      '\\',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(part, { maxLength: 24 }).map((parts) => parts.join('')),
        ),
        (source) => {
          const error = failure(() => compileTemplate(source).render(() => 'v'));
          return error === undefined || error instanceof TemplateError;
        },
      ),
      { numRuns: 2000 },
    );
  });
});

function failure(work: () => unknown): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
}
