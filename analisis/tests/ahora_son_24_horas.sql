-- description: ahora tiene 24 horas seguidas, la última con el último dato.
-- depends_on: {{ ref('ahora') }}
-- depends_on: {{ ref('corte') }}
SELECT a.horas, a.ultima, k.momento
FROM (SELECT count(*) AS horas, max(hora) AS ultima, min(hora) AS primera FROM ahora) AS a
CROSS JOIN corte AS k
WHERE a.horas <> 24 OR k.momento < a.ultima OR k.momento >= a.ultima + interval '1 hour'
   OR a.primera <> a.ultima - interval '23 hours'
