-- title: Qué arreglar en el CRM
-- description: Caso por caso, primero los de los clientes que más ingresan. No están los prospectos.
-- limit: 10
SELECT
    hueco AS "qué",
    nombre AS empresa,
    dominio,
    etapa,
    CAST(round(ingresos) AS bigint) AS "ingresos (€)",
    arreglo
FROM crm_huecos
WHERE arreglo NOT LIKE 'Prospecto%'
ORDER BY ingresos DESC, hueco, nombre, id
