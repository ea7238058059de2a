-- description: Ningún paso del embudo tiene más empresas que el anterior.
-- depends_on: {{ ref('embudo') }}
SELECT paso, nombre, empresas
FROM embudo
WHERE del_anterior > 1 OR empresas < 0
