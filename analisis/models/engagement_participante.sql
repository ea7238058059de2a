-- description: Cada participante: actividades, días activos, minutos, progreso, última actividad, nota, y si está en riesgo de abandonar.
-- question: ¿A quién tiene que llamar el tutor esta semana, y se nota la actividad en la nota?
-- materialized: table
-- unique: id_participante
-- not_null: id_participante, participante, curso, cliente, actividades, en_riesgo, abandono
-- relationships: id_participante -> participantes.id
-- depends_on: {{ ref('actividad') }}
-- depends_on: {{ ref('clientes_crm') }}
-- depends_on: {{ ref('corte') }}
--
-- At risk (en_riesgo) is a participant of a course that is under way (its sale is not cancelled, it began at least 7 days ago
-- and has not ended), who was not active in the last 10 days up to corte.hoy, or whose progress is below half of the
-- share of the course's days that have passed. motivo says which: 'no ha empezado', 'sin actividad', 'va atrasado'.
-- Left (abandono) is a participant of a course that has ended whose last activity was in its first 60 %, or who had none.
-- Sales that were cancelled or have no dates make neither.
WITH hecho AS (
    SELECT
        id_participante,
        count(*) AS actividades,
        count(DISTINCT dia) AS dias_activos,
        sum(minutos) AS minutos,
        max(progreso) AS progreso,
        max(momento) AS ultima_actividad,
        max(dia) AS ultimo_dia
    FROM actividad
    GROUP BY id_participante
),
persona AS (
    SELECT
        p.id AS id_participante,
        p.nombre || ' ' || p.apellido AS participante,
        p.email,
        p.calificacion,
        v.id AS id_venta,
        v.curso_id AS id_curso,
        coalesce(cu.nombre, 'curso ' || CAST(v.curso_id AS varchar)) AS curso,
        v.cliente_id AS id_cliente,
        coalesce(cl.cliente, 'cliente ' || CAST(v.cliente_id AS varchar)) AS cliente,
        v.estado,
        v.fecha_inicio,
        v.fecha_fin,
        coalesce(h.actividades, 0) AS actividades,
        coalesce(h.dias_activos, 0) AS dias_activos,
        coalesce(h.minutos, 0) AS minutos,
        coalesce(h.progreso, 0) AS progreso,
        h.ultima_actividad,
        h.ultimo_dia,
        k.hoy,
        v.estado <> 'cancelado' AND v.fecha_inicio <= k.hoy - 7 AND v.fecha_fin >= k.hoy AS en_marcha,
        v.estado <> 'cancelado' AND v.fecha_fin < k.hoy AS terminado,
        100.0 * (k.hoy - v.fecha_inicio + 1) / (v.fecha_fin - v.fecha_inicio + 1) AS transcurrido
    FROM participantes AS p
    JOIN ventas AS v ON v.id = p.venta_id
    LEFT JOIN cursos AS cu ON cu.id = v.curso_id
    LEFT JOIN clientes_crm AS cl ON cl.id_cliente = v.cliente_id
    LEFT JOIN hecho AS h ON h.id_participante = p.id
    CROSS JOIN corte AS k
),
motivos AS (
    SELECT
        *,
        CASE WHEN NOT coalesce(en_marcha, false) THEN NULL
             WHEN actividades = 0 THEN 'no ha empezado'
             WHEN ultimo_dia <= hoy - 10 THEN 'sin actividad'
             WHEN progreso < transcurrido / 2 THEN 'va atrasado' END AS motivo
    FROM persona
)
SELECT
    id_participante,
    participante,
    email,
    id_venta,
    id_curso,
    curso,
    id_cliente,
    cliente,
    estado,
    fecha_inicio,
    fecha_fin,
    CAST(date_trunc('month', CAST(fecha_inicio AS timestamp)) AS date) AS mes,
    CAST(actividades AS integer) AS actividades,
    CAST(dias_activos AS integer) AS dias_activos,
    CAST(minutos AS decimal(12, 2)) AS minutos,
    progreso,
    ultima_actividad,
    CAST(hoy - ultimo_dia AS integer) AS dias_sin_actividad,
    CAST(CASE WHEN en_marcha THEN transcurrido END AS decimal(5, 1)) AS transcurrido,
    calificacion,
    coalesce(en_marcha, false) AS en_marcha,
    coalesce(terminado, false) AS terminado,
    motivo IS NOT NULL AS en_riesgo,
    motivo,
    coalesce(terminado, false)
        AND coalesce(10 * (ultimo_dia - fecha_inicio) < 6 * (fecha_fin - fecha_inicio), true) AS abandono
FROM motivos
